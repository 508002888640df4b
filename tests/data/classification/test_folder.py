import pytest
import torch
from PIL import Image

from involution.data import ImageFolder, ImageNet


def folder(root, **kwargs):
    return ImageFolder(root, **{"size": 8, "resize": 8, "padding": 1, "batch_size": 4, "num_workers": 0, **kwargs})


def paths(split):
    return set(split.paths)


def test_given_splits_are_taken(image_folder):
    (image_folder / "val").symlink_to(image_folder / "test")
    data = folder(image_folder)
    assert data.classes == ["cat", "dog"]
    assert [len(split.labels) for split in (data.splits.train, data.splits.val, data.splits.test)] == [20, 4, 4]
    for path, label in zip(data.splits.train.paths, data.splits.train.labels, strict=True):
        assert data.classes[label] in str(path)


def test_missing_val_is_held_out_of_train(image_folder):
    splits = folder(image_folder, val_fraction=0.2).splits
    assert sorted(splits.val.labels.tolist()) == [0, 0, 1, 1]
    assert len(splits.train.labels) == 16
    assert not paths(splits.train) & paths(splits.val)
    assert paths(splits.val) == paths(folder(image_folder, val_fraction=0.2).splits.val)


def test_missing_test_is_val(image_folder):
    (image_folder / "test").rename(image_folder / "val")
    splits = folder(image_folder).splits
    assert splits.test is splits.val
    assert len(splits.train.labels) == 20


def test_one_folder_is_split_in_three(image_folder):
    splits = folder(image_folder / "train", val_fraction=0.25, test_fraction=0.2).splits
    assert [sorted(s.labels.tolist()) for s in (splits.train, splits.val, splits.test)] == [
        [0] * 6 + [1] * 6,
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]
    assert len(paths(splits.train) | paths(splits.val) | paths(splits.test)) == 20


def test_batches_keep_the_contract(image_folder):
    data = folder(image_folder)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape[1:] == (3, 8, 8)
        assert batch.labels.dtype == torch.int64
        images = batch.to_float().images
        assert images.dtype == torch.float32
        assert torch.equal((images * 255).round(), batch.images.float())
        assert 0 <= images.min() <= images.max() <= 1
    images, names = next(iter(data.predict_dataloader()))
    assert images.shape == (4, 3, 8, 8)
    assert names[0].endswith("cat/0.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train/cow").mkdir(), "root: expected an image in every class folder, got none in .*cow"),
        (lambda root: (root / "test/cow").mkdir(), r"root: expected the classes of .*train in .*test, got .*\['cow'\]"),
        (
            lambda root: root.rename(root.with_name("elsewhere")),
            "root: expected a folder, got .*images, which is not",
        ),
    ],
)
def test_errors(image_folder, change, message):
    change(image_folder)
    with pytest.raises(ValueError, match=message):
        _ = folder(image_folder).splits


def test_a_folder_without_classes(tmp_path):
    with pytest.raises(ValueError, match=r"root: expected a folder per class, got .* without folders"):
        _ = folder(tmp_path).classes


def test_too_few_images_to_hold_out(image_folder):
    for i in range(1, 10):
        (image_folder / f"train/cat/{i}.png").unlink()
    with pytest.raises(ValueError, match=r"val_fraction: expected enough images of every class to split, got"):
        _ = folder(image_folder).splits
    with pytest.raises(ValueError, match=r"val_fraction: expected a fraction between 0 and 1, got 1.5"):
        _ = folder(image_folder, val_fraction=1.5).splits


def test_imagenet(tmp_path):
    data = ImageNet(str(tmp_path), batch_size=2, num_workers=0)
    assert len(data.classes) == 1000
    assert data.classes[0] == "tench, Tinca tinca"
    assert data.eval_transform(torch.zeros(3, 300, 400, dtype=torch.uint8)).shape == (3, 224, 224)
    with pytest.raises(ValueError, match=r"root: expected the folders train and val"):
        _ = data.splits
    for path in (tmp_path / "train/n01440764", tmp_path / "val/n01440764"):
        path.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path / "a.JPEG")
    with pytest.raises(ValueError, match=r"root: expected the 1000 WordNet ids .* got 1 folders, n01440764 first"):
        _ = ImageNet(str(tmp_path), batch_size=2).splits
