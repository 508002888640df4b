"""Batches: the contract between data and tasks.

Data sets return pairs (image, target). Images are uint8 [C, H, W] with values from 0 to 255, RGB or grey. They are
copied to the device as uint8, a quarter of the bytes of float32. The task then converts them to float32 in [0, 1] by
`to_float`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms.v2.functional import to_dtype

IGNORE_INDEX = 255
"""Class index of pixels that count neither in the loss nor in the metrics."""


def as_float(image: Tensor) -> Tensor:
    """Convert uint8 in [0, 255] to float32 in [0, 1]; floating-point images keep their values."""
    return to_dtype(image, torch.float32, scale=True)


class ClassificationBatch(NamedTuple):
    """Images with one class label each."""

    images: Tensor  # [B, C, H, W]
    labels: Tensor  # [B], int64, index into the classes of the data module

    @classmethod
    def collate(cls, examples: Sequence[tuple[Tensor, int]]) -> ClassificationBatch:
        """Stack images of one size."""
        return cls(*default_collate(list(examples)))

    def to_float(self) -> ClassificationBatch:
        """Convert the images to float32 in [0, 1]."""
        return self._replace(images=as_float(self.images))


class PredictionBatch(NamedTuple):
    """Images without targets."""

    images: Tensor | list[Tensor]  # [B, C, H, W], or a list where the sizes differ
    names: Sequence[str]  # the path of the file, or the index in the data set

    @classmethod
    def collate(cls, examples: Sequence[tuple[Tensor, str]]) -> PredictionBatch:
        """Stack images of equal size; otherwise return them as a list."""
        images, names = map(list, zip(*examples, strict=True))
        same = len({image.shape for image in images}) == 1
        return cls(default_collate(images) if same else images, names)

    def to_float(self) -> PredictionBatch:
        """Convert the images to float32 in [0, 1]."""
        images = self.images
        return self._replace(images=list(map(as_float, images)) if isinstance(images, list) else as_float(images))


class DetectionBatch(NamedTuple):
    """Images of any sizes with their objects, in the convention of torchvision's detectors.

    A target has boxes [N, 4], float32 (x₁, y₁, x₂, y₂) in pixels; labels [N], int64, 1 + index into the classes of the
    data module; masks [N, H, W], uint8, where the data set has them; and for evaluation also iscrowd [N] and area [N].
    """

    images: list[Tensor]
    targets: list[dict[str, Tensor]]

    @classmethod
    def collate(cls, examples: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> DetectionBatch:
        """Collect images and targets in lists."""
        return cls(*map(list, zip(*examples, strict=True)))

    def to_float(self) -> DetectionBatch:
        """Convert the images to float32 in [0, 1]."""
        return self._replace(images=list(map(as_float, self.images)))


class SegmentationBatch(NamedTuple):
    """Images with a class label per pixel: crops of one size for training, whole images of any size for evaluation."""

    images: list[Tensor]
    masks: list[Tensor]  # [H, W], index into the classes of the data module, or `IGNORE_INDEX`; uint8, then int64

    @classmethod
    def collate(cls, examples: Sequence[tuple[Tensor, Tensor]]) -> SegmentationBatch:
        """Collect images and masks in lists."""
        return cls(*map(list, zip(*examples, strict=True)))

    def to_float(self) -> SegmentationBatch:
        """Convert the images to float32 in [0, 1] and the masks to int64."""
        return SegmentationBatch(list(map(as_float, self.images)), [mask.long() for mask in self.masks])


Batch = ClassificationBatch | PredictionBatch | DetectionBatch | SegmentationBatch
