from pathlib import Path

import pytest
import torch
from PIL import Image

from involution.data import InstanceMaskFolder
from involution.data.files import CorruptImageError


@pytest.fixture
def root(tmp_path):
    """Ten images of 24 x 32 pixels; in image i are i objects, numbered with gaps."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for i in range(10):
        mask = torch.zeros(24, 32, dtype=torch.uint8)
        for k in range(i):
            mask[2 : 20 - i, 3 * k : 3 * k + 2] = 2 * k + 1
        Image.new("RGB", (32, 24), (i, i, i)).save(tmp_path / f"images/{i}.png")
        Image.fromarray(mask.numpy()).save(tmp_path / f"masks/{i}.png")
    return tmp_path


def data(root, num_val_images=4, **kwargs):
    return InstanceMaskFolder(str(root), num_val_images, batch_size=2, class_name="bar", num_workers=0, **kwargs)


def test_every_value_is_an_object(root):
    for image, target in (data(root).val_dataset()[i] for i in range(4)):
        count = image.max().item()
        assert target["labels"].tolist() == [1] * count
        assert target["boxes"].tolist() == [[3 * k, 2, 3 * k + 2, 20 - count] for k in range(count)]
        assert target["masks"].sum((1, 2)).tolist() == [2 * (18 - count)] * count


def test_the_same_images_are_held_out(root):
    module = data(root)
    train, val = (set(module.source(split).paths) for split in ("train", "val"))
    assert (len(train), len(val)) == (6, 4)
    assert not train & val
    assert set(data(root).source("test").paths) == val


def test_batches_of_images_of_different_sizes(root):
    Image.new("RGB", (40, 30)).save(root / "images/0.png")
    Image.new("L", (40, 30)).save(root / "masks/0.png")
    batches = [*data(root, augmentation="hflip").train_dataloader(), *data(root).val_dataloader()]
    assert {tuple(image.shape) for batch in batches for image in batch.images} == {(3, 24, 32), (3, 30, 40)}
    assert all(target["masks"].shape[1:] == i.shape[1:] for b in batches for i, target in zip(*b, strict=True))


def test_mistakes(root):
    with pytest.raises(ValueError, match=r"root: expected a folder with images and masks, got .*nowhere, which has no"):
        data(root / "nowhere").source("val")
    with pytest.raises(ValueError, match=r"num_val_images: expected fewer than the 10 images of .*images, got 10"):
        data(root, num_val_images=10).source("val")
    name = Path(data(root).source("val").name(0)).name
    Image.new("L", (24, 32)).save(root / "masks" / name)
    with pytest.raises(ValueError, match=rf"mask: expected .* the size 24 x 32 of its image, got .*{name} of 32 x 24"):
        _ = data(root).val_dataset()[0]
    (root / "masks" / name).write_text("no mask")
    with pytest.raises(CorruptImageError, match=rf"mask: expected a file that can be decoded, got .*{name}"):
        _ = data(root).val_dataset()[0]
    (root / "masks" / name).unlink()
    with pytest.raises(ValueError, match=rf"mask: expected a file for every image, got no .*{name}"):
        _ = data(root).val_dataset()[0]
