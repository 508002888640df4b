"""CIFAR-10 as torchvision downloads it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from involution.data.classification.data_module import ClassificationDataModule, Split, Splits
from involution.data.classification.split import hold_out
from involution.data.transforms import ClassificationEvalTransform, padded_crop


class CIFAR10(ClassificationDataModule):
    """60 000 images of 32 x 32 pixels: 45 000 to learn from, 5000 to choose the epoch by, 10 000 to be judged by.

    Augmented by shifts of 4 pixels and mirroring.

    Args:
        root: where the archive is, or is downloaded to.
        batch_size: images per step and process.
        num_workers: processes that load images; None is one per core, at most 8.
    """

    classes = "airplane automobile bird cat deer dog frog horse ship truck".split()

    def __init__(self, root: str, batch_size: int, num_workers: int | None = None) -> None:
        eval_transform = ClassificationEvalTransform(resize=32, crop=32, channels=3)
        super().__init__(eval_transform, padded_crop(eval_transform, padding=4), batch_size, num_workers)
        self.root = root

    def prepare_data(self) -> None:
        datasets.CIFAR10(self.root, download=True)

    def read_splits(self) -> Splits:
        train, val = hold_out(self._split(train=True), 0.1, "val")
        return Splits(train, val, self._split(train=False))

    def read(self, item: Tensor) -> Tensor:
        return item

    def _split(self, train: bool) -> Split:
        stored: Any = datasets.CIFAR10(self.root, train=train)
        return Split(list(torch.from_numpy(stored.data).movedim(3, 1)), stored.targets)
