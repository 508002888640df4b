"""What all tests share: the same random numbers in every run, in whatever order the tests run."""

import os

import pytest
import torch

# Without a GPU, Triton programs run in its interpreter. Triton asks once, when it is first imported, which timm and
# torchvision do too.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def seed(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # so that it is taken back if a test sets it
    monkeypatch.delenv("PL_GLOBAL_SEED")
    torch.manual_seed(0)


@pytest.fixture
def image_folder(tmp_path):
    """Two classes of small RGB images, cats dark and dogs bright: train/ 10 each, test/ 2 each."""
    from PIL import Image

    for split, count in (("train", 10), ("test", 2)):
        for name, brightness in (("cat", 40), ("dog", 200)):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40, 32), (brightness, brightness + i, 100)).save(folder / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def truncated(tmp_path):
    """A photograph's file, cut short."""
    from PIL import Image

    path = tmp_path / "truncated.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    return path
