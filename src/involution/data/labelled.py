"""Labelled images as three splits of batches: what every data set for classification shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from involution.data.batch import Batch, Query
from involution.data.transforms import Preprocessing


@dataclass(frozen=True)
class Split:
    """Images as they are stored, a path or an array each, and the index of their class."""

    items: Sequence[Any]
    labels: Sequence[int]


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set."""

    train: Split
    val: Split
    test: Split


class Labelled(LightningDataModule):
    """Base of the data modules: a subclass says where images come from, this class makes batches of them.

    Args:
        preprocessing: of the images that are judged.
        augmentation: of the images that are learned from, uint8 [C, H, W] to float32 [C, size, size].
        batch_size: images per step and process.
        workers: processes that load images; None is one per core, at most 8.
    """

    classes: list[str]
    """Names of the classes, in the order of the labels."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        augmentation: Callable[[Tensor], Tensor],
        batch_size: int,
        workers: int | None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size: expected a positive number, got {batch_size}")
        if workers is not None and workers < 0:
            raise ValueError(f"workers: expected a number of processes or null, got {workers}")
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.workers = min(8, os.cpu_count() or 1) if workers is None else workers

    def read_splits(self) -> Splits:
        """Find the images of the three splits."""
        raise NotImplementedError

    def read(self, item: Any) -> Tensor:
        """Decode one item to uint8 [C, H, W]."""
        raise NotImplementedError

    @cached_property
    def splits(self) -> Splits:
        """The three splits, found once."""
        return self.read_splits()

    def train_dataloader(self) -> DataLoader[Batch]:
        split, trainer = self.splits.train, self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        order = EpochOrder(split.labels, replicas, rank)
        if trainer:
            # The epochs that are behind a resumed run. Lightning sets this too, but only when batches are on their way.
            progress: Any = trainer.fit_loop.epoch_progress.current
            order.set_epoch(progress.processed)
        # Batch norm cannot learn from a single image.
        drop_last = len(order) % self.batch_size == 1 and len(order) > 1
        return self._loader(Augmented(split, self.read, self.augmentation), sampler=order, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(Plain(self.splits.val, self.read, self.preprocessing))

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(Plain(self.splits.test, self.read, self.preprocessing))

    def predict_dataloader(self) -> DataLoader[Query]:
        return self._loader(Unlabelled(self.splits.test, self.read, self.preprocessing))

    def _loader(self, images: Dataset[Any], **kwargs: Any) -> DataLoader[Any]:
        return DataLoader(
            images,
            batch_size=self.batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # of its own: loading draws nothing from the numbers that dropout sees
            **kwargs,
        )


class Plain(Dataset[Batch]):
    """Preprocessed images with their labels."""

    def __init__(self, split: Split, read: Callable[[Any], Tensor], preprocessing: Callable[[Tensor], Tensor]) -> None:
        self.split, self.read, self.preprocessing = split, read, preprocessing

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> Batch:
        image = self.preprocessing(self.read(self.split.items[index]))
        return Batch(image, torch.tensor(self.split.labels[index]))


class Unlabelled(Plain):
    """Preprocessed images under their paths, or under their index where there is no file."""

    def __getitem__(self, index: int) -> Query:  # type: ignore[override]
        item = self.split.items[index]
        return Query(self.preprocessing(self.read(item)), str(index if isinstance(item, Tensor) else item))


class Augmented(Plain):
    """Augmented images. What chance does to an image depends on seed, epoch and index alone.

    So a run does not depend on the number of workers, and a resumed run continues as if it had not stopped.
    """

    def __getitem__(self, place: tuple[int, int]) -> Batch:  # type: ignore[override]
        epoch, index = place
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(hash((_seed(), epoch, index)))
            return super().__getitem__(index)


class EpochOrder(DistributedSampler[int]):
    """Yield (epoch, index) in an order drawn from seed and epoch, each process its share."""

    def __init__(self, labels: Sequence[int], replicas: int, rank: int) -> None:
        super().__init__(labels, replicas, rank, shuffle=True, seed=_seed())  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        indices = super().__iter__()
        return ((self.epoch, index) for index in indices)


def _seed() -> int:
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))  # set by Lightning's seed_everything, in workers too
