"""CIFAR-10 as torchvision downloads it."""

from __future__ import annotations

from typing import Any

import torch
from torchvision import datasets

from involution.data.classification.data_module import ClassificationDataModule, Splits
from involution.data.classification.sources import LabelledTensors, hold_out
from involution.data.transforms import ClassificationEvalTransform, padded_crop


class CIFAR10(ClassificationDataModule):
    """60 000 images of 32 x 32 pixels: 45 000 for training, 5000 for validation, 10 000 for testing.

    Training images are shifted by up to 4 pixels and flipped.

    Args:
        root: folder of the archive, which is downloaded if it is missing.
        batch_size: images per step and process.
        num_workers: see `DataModule`.
    """

    classes = "airplane automobile bird cat deer dog frog horse ship truck".split()

    def __init__(self, root: str, batch_size: int, num_workers: int | None = None) -> None:
        eval_transform = ClassificationEvalTransform(resize=32, crop=32, channels=3)
        super().__init__(padded_crop(eval_transform, padding=4), eval_transform, batch_size, num_workers)
        self.root = root

    def prepare_data(self) -> None:
        datasets.CIFAR10(self.root, download=True)

    def read_splits(self) -> Splits:
        train, val = hold_out(self._split(train=True), 0.1, "val")
        return Splits(train, val, self._split(train=False))

    def _split(self, train: bool) -> LabelledTensors:
        stored: Any = datasets.CIFAR10(self.root, train=train)
        return LabelledTensors(torch.from_numpy(stored.data).movedim(3, 1), stored.targets)
