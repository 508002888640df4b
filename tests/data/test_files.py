import errno
import os

import pytest
import torch
from PIL import Image

from involution.data import ClassificationEvalTransform, ImageDataset, ImageFiles
from involution.data.files import CorruptImageError, find_images, read_image, read_values


def test_pixels_come_back(tmp_path):
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert image.shape == (3, 2, 3)
    assert image[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "1", "LA", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_converted(mode, channels, tmp_path):
    Image.new(mode, (5, 4)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", channels).shape == (channels, 4, 5)


def test_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 6, 4)


def test_folders_are_searched_and_sorted(image_folder):
    (image_folder / "notes.txt").write_text("no image")
    found = find_images([image_folder / "train/cat/3.png", image_folder / "test"])
    names = ["train/cat/3.png", *(f"test/{name}/{i}.png" for name in ("cat", "dog") for i in range(2))]
    assert found == [image_folder / name for name in names]


def test_files_for_prediction(image_folder):
    files = ImageDataset(
        ImageFiles([image_folder / "test"], channels=1), ClassificationEvalTransform(16, 8, channels=1)
    )
    assert len(files) == 4
    image, name = files[3]
    assert image.shape == (1, 8, 8)
    assert name == str(image_folder / "test/dog/1.png")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.png", b"no image", "not a known format"),
        ("empty.jpg", b"", "not a known format"),
    ],
)
def test_files_that_are_no_images(name, content, reason, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"image: expected a file that can be decoded, got .*{name} \(.*{reason}"):
        read_image(tmp_path / name)


def test_a_broken_image(tmp_path):
    Image.effect_noise((400, 400), 90).save(tmp_path / "a.png")
    head, *parts = (tmp_path / "a.png").read_bytes().split(b"IDAT")
    assert len(parts) > 1
    (tmp_path / "a.png").write_bytes(head + b"IDAT" + b"!!!!".join(parts))
    with pytest.raises(ValueError, match=r"image: expected a file that can be decoded, got .*a.png \(broken PNG"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_drive_that_fails_is_no_corrupt_image(number, tmp_path, monkeypatch):
    """Corrupt images may be skipped, but a drive that has gone would make all of them corrupt."""
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", lambda _: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with pytest.raises(
        ValueError, match=rf"image: expected a file that can be read, got .*a.png \({os.strerror(number)}"
    ):
        read_image(tmp_path / "a.png")
    with pytest.raises(ValueError) as raised:
        read_image(tmp_path / "a.png")
    assert not isinstance(raised.value, CorruptImageError)


def test_a_truncated_image(truncated):
    with pytest.raises(
        ValueError, match=r"image: expected a file that can be decoded, got .*truncated.jpg \(.*truncat"
    ):
        read_image(truncated)


def test_what_pillow_says_of_a_corrupt_file_is_in_the_error_alone(tmp_path, recwarn):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:20])
    with pytest.raises(CorruptImageError):
        read_image(tmp_path / "a.tif")
    assert not recwarn


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"image: expected a regular file, got .*a.png, which is a named pipe"):
        read_image(tmp_path / "a.png")


def test_a_mask_of_another_size_is_not_decoded(truncated):
    with pytest.raises(ValueError, match=r"mask: expected .* the size 5 x 5 of its image, got .* of 64 x 64"):
        read_values(truncated, (5, 5))


def test_a_mask_of_a_format_that_starts_a_program(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\n%%EOF\n")
    with pytest.raises(CorruptImageError, match="cannot identify image file"):
        read_values(tmp_path / "a.png", (5, 5))


def test_paths_without_images(tmp_path):
    with pytest.raises(ValueError, match=r"image: expected a file, got .*gone, which does not exist"):
        read_image(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"image: expected a file or a folder, got .*gone, which does not exist"):
        find_images([tmp_path / "gone"])
    with pytest.raises(ValueError, match=r"image: expected a folder with images, got .* with none"):
        find_images([tmp_path])
