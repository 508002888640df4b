"""Untrusted images: each is either read or rejected with a message."""

import pytest
import torch
from mischief import READ, REFUSED, png

from involution.data.files import MAX_PIXELS, read_image
from involution.explore import explorer as module
from involution.explore.explorer import photograph, read_photograph
from involution.explore.views import View, show


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="image: expected") as caught:
        read_photograph(tmp_path / name)
    assert message in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("name", READ)
def test_read_and_looked_at(name, tmp_path, explorer, view):
    (tmp_path / name).write_bytes(READ[name])
    shown = show(explorer, View(view.source, read_photograph(tmp_path / name)))
    assert shown.heat.ndim == shown.kernels.ndim == shown.window.ndim == 3


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    from PIL import Image

    ramp = Image.fromarray((torch.arange(256).reshape(16, 16) * 256).numpy().astype("uint16"))
    ramp.save(tmp_path / "ramp.png")
    assert read_image(tmp_path / "ramp.png", 1).flatten().tolist() == list(range(256))


def test_the_size_is_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("decoded"))
    (tmp_path / "a.png").write_bytes(png(MAX_PIXELS // 4, 5, 10))
    with pytest.raises(ValueError, match="at most 67,108,864 pixels"):
        read_image(tmp_path / "a.png")


def test_large_files_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IMAGE_BYTES", 2**20)
    (tmp_path / "a.png").write_bytes(bytes(3 * 2**20))
    with pytest.raises(ValueError, match="image: expected at most 1 MiB, got 3 MiB"):
        read_photograph(tmp_path / "a.png")


def test_what_is_kept_is_small():
    kept = photograph(torch.zeros(3, 2048, 512, dtype=torch.uint8))
    assert kept.pixels.shape == (3, 1024, 256)
    assert kept.key == photograph(torch.zeros(3, 2048, 512, dtype=torch.uint8)).key
    assert kept.key != photograph(torch.ones(3, 2048, 512, dtype=torch.uint8)).key
