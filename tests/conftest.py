"""Shared fixtures: random seeds that do not depend on the order of the tests, and images."""

import os

import torch

if not torch.cuda.is_available():
    # Triton reads the variable once, when it is first imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import coco_files
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def seed(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # so that it is taken back if a test sets it
    monkeypatch.delenv("PL_GLOBAL_SEED")
    torch.manual_seed(0)


@pytest.fixture
def one_thread():
    """Use one thread: tiny networks are slower on two, especially on a shared machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def image_folder(tmp_path, draw_images):
    return draw_images(tmp_path / "images")


@pytest.fixture
def truncated(tmp_path):
    """A truncated image file."""
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


@pytest.fixture(scope="session")
def draw_scenes():
    """Draw scenes of three classes and a frame of 9, which is none: train/ 5, val/ 2 of different sizes."""

    def draw(root):
        for split, sizes in (("train", [(40, 48)] * 5), ("val", [(40, 48), (31, 45)])):
            for kind in ("images", "masks"):
                (root / split / kind).mkdir(parents=True)
            for i, (height, width) in enumerate(sizes):
                mask = torch.zeros(height, width, dtype=torch.uint8)
                mask[height // 2 :] = 1
                mask[height // 2 - 8 : height // 2 + 8, 8 : 24 + i] = 2
                mask[[0, -1]] = mask[:, [0, -1]] = 9
                Image.fromarray((mask * 25 + i).numpy()).convert("RGB").save(root / split / f"images/{i}.jpg")
                Image.fromarray(mask.numpy()).save(root / split / f"masks/{i}.png")
        return root

    return draw


@pytest.fixture(scope="session")
def draw_cityscapes():
    """Draw the folders of Cityscapes, two images each of 64 x 72 pixels, every identifier a stripe of two columns."""

    def draw(root):
        stripes = torch.tensor([*range(34), 255, 7], dtype=torch.uint8).repeat_interleave(2).expand(64, -1)
        for split in ("train", "val"):
            for i in range(2):
                name = f"town/town_{i:06}_000019"
                image = root / f"leftImg8bit/{split}/{name}_leftImg8bit.png"
                mask = root / f"gtFine/{split}/{name}_gtFine_labelIds.png"
                for path, picture in ((image, (stripes * 7).expand(3, -1, -1).movedim(0, 2)), (mask, stripes)):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(picture.contiguous().numpy()).save(path)
        return root

    return draw


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A checkpoint as written by `involution fit`, of a network for images of 32 pixels and two classes."""
    path = tmp_path_factory.mktemp("weights") / "two.ckpt"
    facts = {
        "network": "rednet26",
        "options": {"stem_stride": 1},
        "classes": ["n02123394", "n02085620"],
        "eval_transform": {"resize": 32, "crop": 32, "channels": 3},
        "_class_path": "involution.tasks.Classification",
    }
    import timm

    import involution.models  # noqa: F401

    torch.manual_seed(0)
    network = timm.create_model("rednet26", stem_stride=1, num_classes=2)
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": facts}, path)
    return path


@pytest.fixture(scope="session")
def draw_masks():
    """Draw images of 48 x 64 pixels with two bright objects each, and the masks that number them."""

    def draw(root, images=6):
        for kind in ("images", "masks"):
            (root / kind).mkdir(parents=True)
        for i in range(images):
            mask = torch.zeros(48, 64, dtype=torch.uint8)
            mask[8:40, 4 + i : 20 + i], mask[12:36, 34:56] = 1, 2
            Image.fromarray(((mask > 0) * 150 + mask * 40).byte().numpy()).convert("RGB").save(root / f"images/{i}.png")
            Image.fromarray(mask.numpy()).save(root / f"masks/{i}.png")
        return root

    return draw


@pytest.fixture(scope="session")
def draw_coco():
    """Draw both splits of COCO, four images each."""

    def draw(root):
        for seed, split in enumerate(("train2017", "val2017")):
            coco_files.draw_coco(root, split, images=4, seed=seed)
        return root

    return draw
