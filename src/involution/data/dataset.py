"""The data set of all tasks. It reads images and targets from a source and transforms them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from involution.data.files import CorruptImageError, find_images, read_image

Transform = Callable[[Tensor, Any], tuple[Tensor, Any]]


class ImageSource(ABC):
    """Source of the images and targets of one split. It must be picklable for worker processes."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the path of an image, or its index if it has no file."""

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """Decode an image to uint8 [C, H, W]."""

    @abstractmethod
    def target(self, index: int, height: int, width: int) -> Any:
        """Return the target of an image of this size: a label, a mask, or a dictionary of objects."""


class ImageFiles(ImageSource):
    """Image files for prediction: the target of an image is its path.

    Args:
        paths: paths of files and folders. All images in a folder are used.
        channels: 3 for RGB, 1 for grey; files are converted.
    """

    def __init__(self, paths: Sequence[str | Path], channels: int = 3) -> None:
        self.paths, self.channels = find_images(paths), channels

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return str(self.paths[index])

    def image(self, index: int) -> Tensor:
        return read_image(self.paths[index], self.channels)

    def target(self, index: int, height: int, width: int) -> str:
        return self.name(index)


class WithoutTargets(ImageSource):
    """The images of a source with their names as targets, for prediction."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def image(self, index: int) -> Tensor:
        return self.source.image(index)

    def target(self, index: int, height: int, width: int) -> str:
        return self.source.name(index)


class ImageDataset(Dataset[tuple[Tensor, Any]]):
    """Data set of pairs (image, target).

    Args:
        source: source of images and targets.
        transform: called with image and target, returns both, as the transforms v2 of torchvision.
        max_corrupt_images: maximum number of images that cannot be decoded. Each is reported in a warning and
            replaced by the next image that can be decoded. One more raises an error.

    Raises:
        ValueError: an image cannot be decoded and the limit is reached; the message names the file.

    Warns:
        UserWarning: an image is skipped; the message names the file and the count.
    """

    def __init__(self, source: ImageSource, transform: Transform, max_corrupt_images: int = 0) -> None:
        self.source, self.transform, self.max_corrupt_images = source, transform, max_corrupt_images
        # In shared memory: the count is over all workers of a process, and each image is counted once per run.
        self.corrupt = torch.zeros(len(source), dtype=torch.bool).share_memory_() if max_corrupt_images else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        while True:
            try:
                image = self.source.image(index)
                target = self.source.target(index, *image.shape[1:])
                break
            except CorruptImageError as error:
                self._skip(index, error)
                index = (index + 1) % len(self)
        return self.transform(image, target)

    def _skip(self, index: int, error: CorruptImageError) -> None:
        if self.corrupt is None:
            raise error
        self.corrupt[index] = True
        count = int(self.corrupt.sum())
        if count == len(self):
            raise ValueError(f"image: expected files that can be decoded, got {count} corrupt ones; {error}") from error
        if count > self.max_corrupt_images:
            raise ValueError(
                f"max_corrupt_images: expected at most {self.max_corrupt_images} corrupt images, got {count}; {error}"
            ) from error
        warnings.warn(f"skipped {count} of at most {self.max_corrupt_images} corrupt images: {error}", stacklevel=2)
