"""What all tests share: the same random numbers in every run, in whatever order the tests run; and images."""

import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def seed(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # so that it is taken back if a test sets it
    monkeypatch.delenv("PL_GLOBAL_SEED")
    torch.manual_seed(0)


@pytest.fixture
def one_thread():
    """Tiny networks are slower on two threads, much slower where others use the machine too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def image_folder(tmp_path, draw_images):
    return draw_images(tmp_path / "images")


@pytest.fixture
def truncated(tmp_path):
    """A photograph's file, cut short."""
    path = tmp_path / "truncated.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    return path


@pytest.fixture(scope="session")
def draw_images():
    """Draw two classes of small RGB images into a folder, cats dark and dogs bright: train/ 10 each, test/ 2 each."""

    def draw(root):
        for split, count in (("train", 10), ("test", 2)):
            for name, brightness in (("cat", 40), ("dog", 200)):
                folder = root / split / name
                folder.mkdir(parents=True)
                for i in range(count):
                    Image.new("RGB", (40, 32), (brightness, brightness + i, 100)).save(folder / f"{i}.png")
        return root

    return draw
