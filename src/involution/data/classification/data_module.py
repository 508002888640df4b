"""ClassificationDataModule images as three splits of batches: what every data set for classification shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from involution.data.batch import ClassificationBatch, PredictionBatch
from involution.data.module import DataModule
from involution.data.transforms import ClassificationEvalTransform


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


class ClassificationDataModule(DataModule):
    """Base of the data modules: a subclass says where images come from, this class makes batches of them.

    Args:
        eval_transform: of the images that are judged.
        augmentation: of the images that are learned from, uint8 [C, H, W] to float32 [C, size, size].
        batch_size: images per step and process.
        num_workers: processes that load images; None is one per core, at most 8.
    """

    def __init__(
        self,
        eval_transform: ClassificationEvalTransform,
        augmentation: Callable[[Tensor], Tensor],
        batch_size: int,
        num_workers: int | None,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.eval_transform = eval_transform
        self.augmentation = augmentation

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

    def train_dataset(self) -> Dataset[ClassificationBatch]:
        return Examples(self.splits.train, self.read, self.augmentation)

    def val_dataset(self) -> Dataset[ClassificationBatch]:
        return Examples(self.splits.val, self.read, self.eval_transform)

    def test_dataset(self) -> Dataset[ClassificationBatch]:
        return Examples(self.splits.test, self.read, self.eval_transform)

    def predict_dataset(self) -> Dataset[Any]:
        return Unlabelled(self.splits.test, self.read, self.eval_transform)


class Examples(Dataset[ClassificationBatch]):
    """Preprocessed or augmented images with their labels."""

    def __init__(self, split: Split, read: Callable[[Any], Tensor], transform: Callable[[Tensor], Tensor]) -> None:
        self.split, self.read, self.transform = split, read, transform

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> ClassificationBatch:
        image = self.transform(self.read(self.split.items[index]))
        return ClassificationBatch(image, torch.tensor(self.split.labels[index]))


class Unlabelled(Examples):
    """Preprocessed images under their paths, or under their index where there is no file."""

    def __getitem__(self, index: int) -> PredictionBatch:  # type: ignore[override]
        item = self.split.items[index]
        return PredictionBatch(self.transform(self.read(item)), str(index if isinstance(item, Tensor) else item))
