"""Labelled images in files or in memory, and stratified splits of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from torch import Tensor

from involution.data.dataset import ImageSource
from involution.data.files import PathArray, read_image
from involution.data.sampler import SPLIT_SEED


class LabelledSource(ImageSource):
    """Images with one label each."""

    labels: np.ndarray  # [N], int64

    def __len__(self) -> int:
        return len(self.labels)

    def target(self, index: int, height: int, width: int) -> int:
        return int(self.labels[index])

    def subset(self, indices: np.ndarray) -> Self:
        """Return the images at these indices."""
        raise NotImplementedError


class LabelledFiles(LabelledSource):
    """Image files with their labels.

    Args:
        paths: paths of the files.
        labels: index of the class of each.
        channels: 3 for RGB, 1 for grey; files are converted.
    """

    def __init__(self, paths: Iterable[str | Path], labels: Sequence[int] | np.ndarray, channels: int = 3) -> None:
        self.paths = paths if isinstance(paths, PathArray) else PathArray(paths)
        self.labels, self.channels = np.asarray(labels, dtype=np.int64), channels

    def name(self, index: int) -> str:
        return self.paths[index]

    def image(self, index: int) -> Tensor:
        return read_image(self.paths[index], self.channels)

    def subset(self, indices: np.ndarray) -> Self:
        return type(self)(self.paths[indices], self.labels[indices], self.channels)


class LabelledTensors(LabelledSource):
    """Images of one size in memory with their labels.

    Args:
        images: uint8 [N, C, H, W].
        labels: index of the class of each.
    """

    def __init__(self, images: Tensor, labels: Sequence[int] | np.ndarray) -> None:
        self.images, self.labels = images, np.asarray(labels, dtype=np.int64)

    def name(self, index: int) -> str:
        return str(index)

    def image(self, index: int) -> Tensor:
        return self.images[index]

    def subset(self, indices: np.ndarray) -> Self:
        return type(self)(self.images[indices], self.labels[indices])


Source = TypeVar("Source", bound=LabelledSource)


def hold_out(source: Source, fraction: float, argument: str) -> tuple[Source, Source]:
    """Split off a fraction of the images, every class in proportion; return the rest and the fraction.

    Raises:
        ValueError: `fraction` is not between 0 and 1, or leaves a class without images on either side; the message
            begins with `argument`.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"{argument}: expected a fraction between 0 and 1, got {fraction}")
    from sklearn.model_selection import train_test_split  # takes a second to import

    indices = np.arange(len(source))
    try:
        rest, part = train_test_split(indices, test_size=fraction, stratify=source.labels, random_state=SPLIT_SEED)
    except ValueError as error:
        raise ValueError(f"{argument}: expected enough images of every class to split, got {error}") from None
    return source.subset(np.sort(rest)), source.subset(np.sort(part))
