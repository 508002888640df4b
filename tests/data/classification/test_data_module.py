import types
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.datasets import load_digits
from torchvision import datasets
from torchvision.transforms import v2

from involution.data import CIFAR10, Digits, Synthetic
from involution.tasks import Classification, CosinePerEpoch


def epoch(data, number=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    batches = list(loader)
    return torch.cat([b.images for b in batches]), torch.cat([b.labels for b in batches])


def test_digits_are_split_once_and_for_all():
    splits = Digits(size=8, batch_size=32).splits
    parts = splits.train, splits.val, splits.test
    assert [len(part.labels) for part in parts] == [1149, 288, 360]
    assert all(min(np.bincount(part.labels)) > 0.09 * len(part.labels) for part in parts)
    shades = sum(part.images.double().sum() * 16 / 255 for part in parts)
    assert shades.item() == pytest.approx(load_digits().data.sum(), rel=1e-3)
    assert splits.test.labels.tolist() == Digits(size=8, batch_size=32).splits.test.labels.tolist()


def test_digits_are_not_mirrored():
    assert not any(isinstance(step, v2.RandomHorizontalFlip) for step in Digits(8, 32).train_transform.transforms)


def test_an_augmented_epoch_depends_on_seed_and_epoch_alone(monkeypatch):
    images, labels = epoch(Synthetic(8, 5, batch_size=16))
    again, same = epoch(Synthetic(8, 5, batch_size=16, num_workers=2))
    assert torch.equal(images, again)
    assert torch.equal(labels, same)
    assert not torch.equal(images, epoch(Synthetic(8, 5, batch_size=16), 1)[0])
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    assert not torch.equal(images, epoch(Synthetic(8, 5, batch_size=16))[0])


def test_augmentation_leaves_the_random_numbers_of_the_process_alone():
    epoch(data := Synthetic(8, 5, batch_size=16))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    dataset = data.train_dataloader().dataset
    _ = dataset[0, 0]
    assert torch.equal(torch.rand(3), expected)


def trainer(epoch=0, batches=0, world_size=1, rank=0):
    """The attributes of a trainer that a data module uses."""
    made = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    made.fit_loop.epoch_progress.current.processed = epoch
    made.fit_loop.epoch_loop.batch_progress.current.ready = batches
    spread = {"world_size": world_size, "global_rank": rank, "num_devices": world_size, "overfit_batches": 0}
    return types.SimpleNamespace(fit_loop=made.fit_loop, **spread)


def test_a_resumed_epoch_starts_with_its_own_order():
    data = Synthetic(8, 5, batch_size=16)
    expected = epoch(data, 3)[1]
    data.trainer = trainer(epoch=3)
    assert torch.equal(torch.cat([b.labels for b in data.train_dataloader()]), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_resumed_in_mid_epoch_skips_what_it_has_seen(num_workers):
    data = Synthetic(8, 5, batch_size=16, num_workers=num_workers)
    images, labels = epoch(data, 3)
    data.trainer = trainer(epoch=3, batches=2)
    loader = data.train_dataloader()
    assert len(loader) == 4
    rest = list(loader)
    assert torch.equal(torch.cat([b.labels for b in rest]), labels[32:])
    assert torch.equal(torch.cat([b.images for b in rest]), images[32:])
    assert len(list(loader)) == 4  # the next epoch is complete


def test_processes_share_an_epoch():
    data, seen = Synthetic(8, 50, batch_size=16, images=40), []
    for rank in range(2):
        data.trainer = trainer(epoch=1, world_size=2, rank=rank)
        seen += [index for _, index in data.train_dataloader().sampler]
    assert sorted(seen) == list(range(40))


@pytest.mark.parametrize("replicas", [2, 3])
def test_processes_share_the_validation_images_without_repeating_one(replicas):
    data, seen = Synthetic(8, 50, batch_size=4, images=40), []
    for rank in range(replicas):
        data.trainer = trainer(world_size=replicas, rank=rank)
        for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
            indices = list(loader.sampler)
            assert len(loader.dataset) == 40
        seen += indices
    assert sorted(seen) == list(range(40))
    data.trainer = trainer(world_size=41)
    with pytest.raises(ValueError, match="devices: expected at most one process for each of 40 images, got 41"):
        data.val_dataloader()


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*does not have many workers")
@pytest.mark.parametrize("setting", [{"overfit_batches": 2}, {"fast_dev_run": True}, {"limit_train_batches": 0.5}])
def test_shortened_runs(setting, tmp_path, one_thread):
    """Two epochs; `overfit_batches` uses the same batches in both."""
    seen = []

    class Task(Classification):
        def training_step(self, batch, index):
            seen.append(batch.labels.tolist())
            return super().training_step(batch, index)

    transform = {"resize": 8, "crop": 8, "channels": 3}
    sgd, schedule = partial(torch.optim.SGD, lr=0.1), CosinePerEpoch(0, 1.0)
    data = Synthetic(8, 5, batch_size=4, images=16)
    run = Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **setting,
    )  # fmt: skip
    run.fit(Task("test_resnet", data.classes, transform, 0.0, sgd, schedule), data)
    assert len(seen) == (1 if "fast_dev_run" in setting else 4)
    if "overfit_batches" in setting:
        assert seen[:2] == seen[2:] == [data.splits.train.labels[:4].tolist(), data.splits.train.labels[4:8].tolist()]


@pytest.mark.parametrize(("images", "batches"), [(33, 2), (34, 3), (1, 1)])
def test_no_batch_of_one_is_learned_from(images, batches):
    assert len(list(Synthetic(8, 5, batch_size=16, images=images).train_dataloader())) == batches


def test_cifar10_is_what_torchvision_downloads(monkeypatch):
    class Stored:
        def __init__(self, root, train=True, download=False):
            assert root == "somewhere"
            self.targets = [i % 10 for i in range(100 if train else 20)]
            self.data = np.full((len(self.targets), 32, 32, 3), 7, np.uint8)

    monkeypatch.setattr(datasets, "CIFAR10", Stored)
    data = CIFAR10("somewhere", batch_size=10, num_workers=0)
    data.prepare_data()
    assert [len(s) for s in (data.splits.train, data.splits.val, data.splits.test)] == [90, 10, 20]
    images, labels = next(iter(data.test_dataloader())).to_float()
    torch.testing.assert_close(images, torch.full((10, 3, 32, 32), 7 / 255))
    assert labels.tolist() == list(range(10))
    assert data.classes[9] == "truck"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Synthetic(8, 5, batch_size=0), "batch_size: expected a positive number, got 0"),
        (
            lambda: Synthetic(8, 5, batch_size=1, num_workers=-1),
            "num_workers: expected a number of processes or null, got -1",
        ),
        (lambda: Digits(size=12, batch_size=1), "size: expected a multiple of 8, got 12"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
