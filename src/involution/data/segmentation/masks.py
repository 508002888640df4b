"""Semantic masks: the encoding of the classes of a data set, and images with masks on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from involution.data.batch import IGNORE_INDEX
from involution.data.dataset import ImageSource
from involution.data.files import PathArray, read_image, read_values
from involution.data.transforms import EvalTransform

UNKNOWN = 254  # in the table of values: neither a class nor ignored


@dataclass(frozen=True)
class SegmentationEvalTransform(EvalTransform):
    """Return the image unchanged; store how the masks encode the classes.

    Args:
        values: value of each class in the mask files, from 0 to 255.
        ignored: further values in the mask files, of pixels that the loss and the metrics ignore.
        colors: RGB color of each class in drawn predictions, from 0 to 255.
        scale: scale of the images inside the network; the output has the original size.
    """

    channels = 3  # not a field: images with masks are always RGB

    values: list[int]
    ignored: list[int]
    colors: list[list[int]]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= len(self.values) <= UNKNOWN:
            raise ValueError(f"classes: expected 2 to {UNKNOWN}, got {len(self.values)}")
        codes = [*self.values, *self.ignored]
        if len(set(codes)) != len(codes) or not all(0 <= code <= 255 for code in codes):
            raise ValueError(f"ignored: expected values from 0 to 255 that are no class, got {self.ignored}")
        if any(len(color) != 3 or not all(0 <= part <= 255 for part in color) for color in self.colors):
            raise ValueError(f"classes: expected colors of three values from 0 to 255, got {self.colors}")
        if not self.scale > 0:
            raise ValueError(f"scale: expected a positive number, got {self.scale}")

    @property
    def table(self) -> Tensor:
        """The class index of every value, [256], uint8; `IGNORE_INDEX` and `UNKNOWN` for values without a class."""
        table = torch.full((256,), UNKNOWN, dtype=torch.uint8)
        table[self.values] = torch.arange(len(self.values), dtype=torch.uint8)
        table[self.ignored] = IGNORE_INDEX
        return table


class Pair(NamedTuple):
    """The files of an image and its mask."""

    image: Path
    mask: Path


class SemanticMasks(ImageSource):
    """Image files with one mask file each.

    Args:
        pairs: pairs of image and mask files.
        table: table of `SegmentationEvalTransform`.
    """

    def __init__(self, pairs: Sequence[Pair], table: Tensor) -> None:
        self.images, self.masks = PathArray(pair.image for pair in pairs), PathArray(pair.mask for pair in pairs)
        self.table = table

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return self.images[index]

    def image(self, index: int) -> Tensor:
        return read_image(self.images[index])

    def target(self, index: int, height: int, width: int) -> Tensor:
        return read_mask(Path(self.masks[index]), self.table, (height, width))


def read_mask(path: Path, table: Tensor, size: Sequence[int]) -> Tensor:
    """Decode a mask to the class index of every pixel, uint8 [H, W]; `IGNORE_INDEX` for pixels without a class.

    Args:
        path: path of an image with one value per pixel, grey or with a palette.
        table: table of `SegmentationEvalTransform`.
        size: expected height and width.

    Raises:
        ValueError: the file is missing, has another size, or a value that is not in the table; the message names it.
        CorruptImageError: the file cannot be decoded.
    """
    values = torch.from_numpy(read_values(path, size).astype(np.int64))
    known = (values >= 0) & (values <= 255)
    indices = table[values.where(known, 0)].where(known, UNKNOWN)
    if (indices == UNKNOWN).any():
        wrong = values[indices == UNKNOWN].unique().tolist()
        raise ValueError(f"mask: expected the values of the classes and of ignored pixels, got {wrong[0]} in {path}")
    return indices
