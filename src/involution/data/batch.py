"""What a batch is: the contract between data and tasks.

Images are [B, C, H, W], float32 in [0, 1], RGB or grey; the task normalizes them, once and on the device. A data set
gives the same tuples for one image, without B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from torch import Tensor


class ClassificationBatch(NamedTuple):
    """Images to learn from or to be judged by."""

    images: Tensor
    labels: Tensor  # [B], int64, index into the classes of the data module


class PredictionBatch(NamedTuple):
    """Images to be named."""

    images: Tensor
    names: Sequence[str]  # the path of the file, or the index in the data set


class DetectionBatch(NamedTuple):
    """Images of any sizes with the objects in them, in the convention of torchvision's detectors.

    A target has boxes [N, 4], float32 (x₁, y₁, x₂, y₂) in pixels; labels [N], int64, 1 + index into the classes of the
    data module; masks [N, H, W], uint8, where the data set has them; and for judging also iscrowd [N] and area [N].
    """

    images: list[Tensor]
    targets: list[dict[str, Tensor]]


class SegmentationBatch(NamedTuple):
    """Images with a class at every pixel; parts of one size to learn from, whole images of any to be judged by."""

    images: list[Tensor]
    masks: list[Tensor]  # [H, W], int64, index into the classes of the data module, or `IGNORE_INDEX`


IGNORE_INDEX = 255
"""Of pixels that are neither learned from nor judged."""


Example = TypeVar("Example", bound=tuple[Any, ...])


def collate_lists(examples: list[Example]) -> Example:
    """Make a batch of examples that differ in size: every field a list."""
    kind: Any = type(examples[0])
    return kind(*map(list, zip(*examples, strict=True)))
