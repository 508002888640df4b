"""The data set of all tasks: images that cannot be decoded, and all start methods of workers."""

import multiprocessing
import pickle
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from involution.data import COCO, ImageDataset, ImageFolder, InstanceMaskFolder, SemanticMaskFolder, Synthetic
from involution.data.module import default_workers
from involution.tasks import Classification
from involution.tasks.schedule import CosinePerEpoch


def folder(root, **kwargs):
    return ImageFolder(root, **{"size": 8, "resize": 8, "padding": 1, "batch_size": 4, "num_workers": 0, **kwargs})


def spoil(root, *names):
    for name in names:
        path = root / "train" / name
        Image.effect_noise((64, 64), 50).convert("RGB").save(path)
        path.write_bytes(path.read_bytes()[:1500])


def test_a_corrupt_image_ends_the_run(image_folder):
    spoil(image_folder, "cat/0.png")
    with pytest.raises(ValueError, match=r"image: expected a file that can be decoded, got .*train/cat/0.png"):
        list(folder(image_folder).train_dataloader())


def test_corrupt_images_are_replaced_up_to_a_limit(image_folder):
    data = folder(image_folder, max_corrupt_images=2, val_fraction=0.1)
    dataset = data.train_dataset()
    names = [dataset.source.name(index) for index in range(len(dataset))]
    spoil(image_folder, *(name.split("train/")[1] for name in (names[0], names[4])))
    with pytest.warns(UserWarning, match=rf"skipped 1 of at most 2 corrupt images: image: .*{names[0]}"):
        image, label = dataset[0]
    assert torch.equal(image.unique(), dataset[1][0].unique())
    assert label == 0
    for _ in range(2):  # in a second epoch it is the same image
        with pytest.warns(UserWarning, match=r"skipped 2 of at most 2 corrupt images"):
            dataset[4]
    spoil(image_folder, names[7].split("train/")[1])
    with pytest.raises(
        ValueError, match=rf"max_corrupt_images: expected at most 2 corrupt images, got 3; image: .*{names[7]}"
    ):
        dataset[7]


@pytest.mark.filterwarnings("ignore:skipped")
def test_only_corrupt_images(image_folder):
    dataset = folder(image_folder, max_corrupt_images=100).train_dataset()
    for path in (image_folder / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"image: expected files that can be decoded, got {len(dataset)} corrupt"):
        dataset[0]


@pytest.mark.filterwarnings("ignore:skipped 1 of")
def test_workers_count_corrupt_images_together(image_folder):
    data = folder(image_folder, max_corrupt_images=1, num_workers=2, val_fraction=0.1)
    names = data.source("train").paths
    spoil(image_folder, *(names[index].split("train/")[1] for index in (0, 5)))
    with pytest.raises(ValueError, match=r"max_corrupt_images: expected at most 1 corrupt images, got 2"):
        list(data.train_dataloader())


def test_validation_images_are_not_replaced(image_folder):
    data = folder(image_folder, max_corrupt_images=5)
    path = image_folder / "test/cat/0.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"image: expected a file that can be decoded, got .*test/cat/0.png"):
        list(data.test_dataloader())


def test_errors():
    with pytest.raises(ValueError, match="max_corrupt_images: expected at least 0, got -1"):
        ImageFolder("somewhere", 8, 8, 1, 1, max_corrupt_images=-1)


@pytest.mark.parametrize("kind", ["files", "tensors", "coco", "instances", "semantic"])
def test_data_sets_are_small_when_pickled(kind, image_folder, tmp_path, draw_coco, draw_masks, draw_scenes):
    """Spawned workers receive only the pickled data set."""
    made = {
        "files": lambda: folder(image_folder),
        "tensors": lambda: Synthetic(8, 5, batch_size=4),
        "coco": lambda: COCO(str(draw_coco(tmp_path / "coco")), batch_size=2, masks=True),
        "instances": lambda: InstanceMaskFolder(str(draw_masks(tmp_path / "masks")), 2, batch_size=2),
        "semantic": lambda: SemanticMaskFolder(
            str(draw_scenes(tmp_path / "scenes")), {"a": [0, 0, 0], "b": [1, 1, 1], "c": [2, 2, 2]}, 9, [8, 8], 2
        ),
    }[kind]()
    made.trainer = lambda: None  # cannot be pickled
    for dataset in (made.train_dataset(), made.val_dataset(), made.predict_dataset()):
        again = pickle.loads(pickle.dumps(dataset))
        assert isinstance(again, ImageDataset)
        torch.manual_seed(0)
        image, _ = dataset[1]
        torch.manual_seed(0)
        assert torch.equal(again[1][0], image)


@pytest.fixture
def start_method():
    """Set the start method of processes for one test."""
    before = multiprocessing.get_start_method(allow_none=True)
    yield partial(multiprocessing.set_start_method, force=True)
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.filterwarnings(
    "ignore::FutureWarning:lightning", "ignore:.*LeafSpec", "ignore:.*does not have many workers"
)
def test_workers_that_are_not_forked_train_a_batch(method, start_method, tmp_path, one_thread):
    start_method(method)
    data = Synthetic(8, 5, batch_size=4, images=8, num_workers=1)
    task = Classification(
        network="rednet26",
        classes=data.classes,
        eval_transform={"resize": 8, "crop": 8, "channels": 3},
        label_smoothing=0.0,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        schedule=CosinePerEpoch(0, 1.0),
        options={"stem_stride": 1},
    )
    run = Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, limit_train_batches=1, limit_val_batches=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    before = [p.detach().clone() for p in task.parameters()]
    run.fit(task, data)
    assert run.global_step == 1
    assert not all(map(torch.equal, before, task.parameters()))


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(12), raising=False)
    node = type("Trainer", (), {"num_devices": 4})
    assert default_workers() == 8
    assert default_workers(node) == 3
    node.num_devices = 16
    assert default_workers(node) == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert default_workers(node) == 6
