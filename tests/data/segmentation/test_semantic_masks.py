"""Images with masks: training, evaluation, and errors for invalid files."""

import numpy as np
import pytest
import torch
from PIL import Image

from involution.data import IGNORE_INDEX, Cityscapes, SemanticMaskFolder
from involution.data.segmentation.train_transform import SegmentationTrainTransform

COLORS = {"sky": [0, 0, 255], "road": [99, 99, 99], "car": [255, 0, 0]}


@pytest.fixture
def scenes(tmp_path, draw_scenes):
    return draw_scenes(tmp_path / "scenes")


def folder(root, **kwargs):
    given = {"classes": COLORS, "ignored": 9, "crop": [16, 24], "batch_size": 2, "num_workers": 0, **kwargs}
    return SemanticMaskFolder(str(root), **given)


def put(root, values, split="train", name="0"):
    Image.fromarray(np.asarray(values)).save(root / split / "masks" / f"{name}.png")


def test_batches_keep_the_contract(scenes):
    data = folder(scenes)
    assert data.classes == ["sky", "road", "car"]
    batch = next(iter(data.train_dataloader()))
    assert {x.dtype for x in batch.images + batch.masks} == {torch.uint8}
    batch = batch.to_float()
    assert [tuple(x.shape) for x in batch.images] == [(3, 16, 24)] * 2
    assert [tuple(x.shape) for x in batch.masks] == [(16, 24)] * 2
    whole = next(iter(data.val_dataloader())).to_float()
    assert [tuple(x.shape) for x in whole.images] == [(3, 40, 48), (3, 31, 45)]  # each of its own size
    for image, mask in zip(batch.images + whole.images, batch.masks + whole.masks, strict=True):
        assert image.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert mask.dtype == torch.int64
        assert set(mask.unique().tolist()) <= {0, 1, 2, IGNORE_INDEX}
    query = next(iter(data.predict_dataloader()))
    assert query.names[0].endswith("val/images/0.jpg")  # there is no test


def test_masks_are_read_as_they_are_stored(scenes):
    stored = np.array(Image.open(scenes / "val/masks/0.png"))
    mask = folder(scenes).val_dataset()[0][1].numpy()
    assert (mask[stored < 3] == stored[stored < 3]).all()
    assert (mask[stored == 9] == IGNORE_INDEX).all()
    assert (stored == 9).any()


def test_masks_with_a_palette_are_read_by_their_indices(scenes):
    path = scenes / "val/masks/0.png"
    expected = folder(scenes).val_dataset()[0][1]
    with Image.open(path) as stored:
        stored.putpalette([200, 10, 20] * 10)
        stored.save(path)
        assert stored.mode == "P"
    assert torch.equal(folder(scenes).val_dataset()[0][1], expected)


def test_an_epoch_depends_on_seed_and_epoch_alone(scenes, monkeypatch):
    def crops(seed, epoch):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        loader = folder(scenes).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat([torch.stack(batch.images) for batch in loader])

    assert torch.equal(crops(0, 0), crops(0, 0))
    assert not torch.equal(crops(0, 0), crops(0, 1))
    assert not torch.equal(crops(0, 0), crops(1, 0))


def coded(height, width):
    """An image whose pixels encode the values of the mask."""
    mask = torch.arange(height * width).reshape(height, width).div(width * 8, rounding_mode="floor").to(torch.uint8)
    return (mask * 20)[None].expand(3, -1, -1).contiguous(), mask


def test_image_and_mask_move_together():
    augmentation = SegmentationTrainTransform((32, 40))
    augmentation.distort = lambda image: image
    for seed in range(20):
        torch.manual_seed(seed)
        image, mask = augmentation(*coded(64, 48))
        assert image.shape == (3, 32, 40)
        inside = mask != IGNORE_INDEX
        assert (image[:, ~inside] == 0).all()
        # Images are interpolated between two classes, masks are not.
        assert ((image[0] / 20).round() - mask)[inside].abs().max() <= 1
        assert (image[0][inside] == mask[inside] * 20).float().mean() > 0.7


def test_half_of_the_crops_are_flipped():
    columns = torch.arange(8, dtype=torch.uint8).expand(8, -1)
    augmentation = SegmentationTrainTransform((8, 8))
    augmentation.scales, augmentation.distort = (1.0, 1.0), lambda image: image
    flipped = 0
    for _ in range(100):
        image, mask = augmentation(columns.expand(3, -1, -1), columns)
        assert torch.equal(image[0], mask)
        flipped += int(mask[0, 0] == 7)
    assert 30 < flipped < 70


def test_scales_span_a_half_to_two(monkeypatch):
    sizes = []
    augmentation = SegmentationTrainTransform((8, 8), scale=0.5)
    place = augmentation.place
    monkeypatch.setattr(augmentation, "place", lambda mask: (sizes.append(mask.shape[0]), place(mask))[1])
    for _ in range(200):
        augmentation(*coded(200, 8))
    assert 50 <= min(sizes) < 60
    assert 190 < max(sizes) <= 200


def test_small_images_are_filled_with_ignored_black():
    image, mask = SegmentationTrainTransform((50, 60)).cut(torch.ones(3, 20, 30), 0, 0, fill=0), None
    mask = SegmentationTrainTransform((50, 60)).cut(torch.ones(20, 30), 0, 0, fill=IGNORE_INDEX)
    assert image.shape == (3, 50, 60)
    assert image.sum() == 3 * 20 * 30
    assert (mask == IGNORE_INDEX).sum() == 50 * 60 - 20 * 30


def test_no_class_has_more_than_three_quarters_of_a_crop():
    """A strip of another class in a large image, which most random crops do not contain."""
    mask = torch.zeros(64, 400, dtype=torch.uint8)
    mask[:, 150:250] = 1
    mask[:8] = IGNORE_INDEX
    augmentation = SegmentationTrainTransform((64, 100))
    shares = []
    for _ in range(100):
        top, left = augmentation.place(mask)
        labelled = augmentation.cut(mask, top, left, IGNORE_INDEX).flatten()
        counts = labelled[labelled != IGNORE_INDEX].long().bincount(minlength=2)
        shares.append((counts.max() / counts.sum()).item())
    assert sum(share < 0.75 for share in shares) > 95  # of ten tries, each succeeds with probability 1/3 or so


def test_colours_change_and_stay_colours():
    torch.manual_seed(1)
    image = torch.full((3, 40, 40), 100, dtype=torch.uint8)
    images = [SegmentationTrainTransform((40, 40)).distort(image) for _ in range(20)]
    assert len({tuple(x[:, 0, 0].tolist()) for x in images}) > 5
    assert all(x.dtype == torch.uint8 for x in images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: put(r, np.full((40, 48), 5, np.uint8)),
            r"mask: expected the values .* got 5 in .*train/masks/0.png",
        ),
        (lambda r: put(r, np.full((40, 48), 300, np.uint16)), r"mask: expected the values .* got 300 in .*masks/0.png"),
        (lambda r: put(r, np.zeros((20, 48), np.uint8)), r"mask: .*40 x 48 of its image, got .*masks/0.png of 20 x 48"),
        (lambda r: put(r, np.zeros((40, 48, 3), np.uint8)), r"mask: expected one value per pixel .* of 40 x 48 x 3"),
        (lambda r: (r / "train/masks/0.png").write_bytes(b"none"), r"mask: expected a file that can be .*masks/0.png"),
        (lambda r: (r / "train/images/0.jpg").write_bytes(b"none"), r"image: expected a file that can .*images/0.jpg"),
        (lambda r: (r / "train/masks/0.png").unlink(), r"mask: expected .*, got no .*masks/0.png for .*images/0.jpg"),
        (lambda r: (r / "train/masks").rename(r / "train/labels"), r"root: expected a folder .*train/masks, got none"),
    ],
)
def test_errors_name_the_file(scenes, change, message):
    change(scenes)
    with pytest.raises(ValueError, match=message):
        _ = folder(scenes).train_dataset()[0]


def test_a_folder_without_images(scenes):
    for path in (scenes / "val/images").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"root: expected images in .*val/images, got none"):
        _ = folder(scenes).splits


def test_an_image_that_is_cut_short_is_named(scenes, truncated):
    truncated.rename(scenes / "train/images/0.jpg")
    with pytest.raises(ValueError, match=r"image: expected a file that can be decoded, got .*train/images/0.jpg"):
        _ = folder(scenes).train_dataset()[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ignored": 2}, r"ignored: expected values from 0 to 255 that are no class, got \[2\]"),
        ({"ignored": 256}, r"ignored: expected values from 0 to 255"),
        ({"classes": {"sky": [0, 0, 0]}}, r"classes: expected 2 to 254, got 1"),
        ({"classes": {"sky": [0, 0, 0], "road": [0, 256, 0]}}, r"classes: expected colors of three values"),
        ({"crop": [8]}, r"crop: expected height and width in pixels, got \[8\]"),
        ({"scale": 0.0}, r"scale: expected a positive number, got 0"),
        ({"batch_size": 0}, r"batch_size: expected a positive number, got 0"),
    ],
)
def test_bad_arguments(scenes, change, message):
    with pytest.raises(ValueError, match=message):
        folder(scenes, **change)


def test_cityscapes_maps_identifiers_to_19_classes(tmp_path, draw_cityscapes):
    data = Cityscapes(str(draw_cityscapes(tmp_path)), crop=[16, 32], batch_size=1, num_workers=0)
    assert len(data.classes) == 19
    assert (data.classes[0], data.classes[13], data.classes[18]) == ("road", "car", "bicycle")
    stored = np.array(Image.open(next(tmp_path.glob("gtFine/val/*/*labelIds.png"))))
    mask = data.val_dataset()[0][1]
    assert set(stored[mask == 0].tolist()) == {7}
    assert set(stored[mask == 18].tolist()) == {33}
    assert set(stored[mask == IGNORE_INDEX].tolist()) == {*range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255}
    values = torch.tensor(data.eval_transform.values)
    judged = mask != IGNORE_INDEX
    assert torch.equal(values[mask[judged].long()], torch.from_numpy(stored)[judged].long())  # and back
    assert data.eval_transform.colors[0] == [128, 64, 128]
    assert data.splits["test"] == data.splits["val"]


def test_cityscapes_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"root: expected leftImg8bit and gtFine in .*, got no such folders"):
        _ = Cityscapes(str(tmp_path), crop=[16, 32], batch_size=1).splits
