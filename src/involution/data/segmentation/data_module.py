"""Images with a class at every pixel: what every data set for semantic segmentation shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import to_dtype

from involution.data.batch import IGNORE_INDEX, PredictionBatch, SegmentationBatch, collate_lists
from involution.data.files import read_image
from involution.data.module import DataModule
from involution.data.segmentation.train_transform import SegmentationTrainTransform

UNKNOWN = 254  # in the table of values: neither a class nor ignored


@dataclass(frozen=True)
class SegmentationEvalTransform:
    """How a data set codes its classes, and the size at which a network sees its images.

    Args:
        values: of every class in the mask files; from 0 to 255.
        ignored: further values that may stand there, of pixels that are neither learned from nor judged.
        colors: of every class in pictures of predictions, RGB from 0 to 255.
        scale: of the images inside the network. Images keep their size here, the network scales them and its answer.
    """

    channels: ClassVar[int] = 3

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
            raise ValueError(f"classes: expected colours of three values from 0 to 255, got {self.colors}")
        if not self.scale > 0:
            raise ValueError(f"scale: expected a positive number, got {self.scale}")

    def __call__(self, image: Tensor) -> Tensor:
        return to_dtype(image, torch.float32, scale=True)

    @property
    def table(self) -> Tensor:
        """The index of the class for every value, [256], uint8; `IGNORE_INDEX` and `UNKNOWN` for values of no class."""
        table = torch.full((256,), UNKNOWN, dtype=torch.uint8)
        table[self.values] = torch.arange(len(self.values), dtype=torch.uint8)
        table[self.ignored] = IGNORE_INDEX
        return table


class Pair(NamedTuple):
    """Where an image and its mask are."""

    image: Path
    mask: Path


def read_mask(path: Path, table: Tensor, size: Sequence[int]) -> Tensor:
    """Decode a mask to the index of a class at every pixel, uint8 [H, W], `IGNORE_INDEX` where there is none.

    Args:
        path: of an image with one value per pixel, grey or with a palette.
        table: of `SegmentationEvalTransform`.
        size: height and width that are expected.

    Raises:
        ValueError: the file is missing or broken, has another size, or a value that is not in the table; the message
            names it.
    """
    if not path.is_file():
        raise ValueError(f"mask: expected a file for every image, got no {path}")
    try:
        with Image.open(path) as file:
            values = torch.from_numpy(np.array(file).astype(np.int64))
    except Exception as error:  # what a broken file makes Pillow raise is of almost any kind
        raise ValueError(f"mask: expected a file that can be decoded, got {path} ({error})") from None
    if values.shape != tuple(size):
        got = " x ".join(map(str, values.shape))
        raise ValueError(
            f"mask: expected one value per pixel and the size {size[0]} x {size[1]} of its image, got {path} of {got}"
        )
    known = (values >= 0) & (values <= 255)
    indices = table[values.where(known, 0)].where(known, UNKNOWN)
    if (indices == UNKNOWN).any():
        wrong = values[indices == UNKNOWN].unique().tolist()
        raise ValueError(f"mask: expected the values of the classes and of ignored pixels, got {wrong[0]} in {path}")
    return indices


class SegmentationDataModule(DataModule):
    """Base of the data modules for semantic segmentation.

    Args:
        classes: their names.
        eval_transform: how the data set codes them, and the scale.
        crop: height and width of the parts to learn from, in pixels of the scaled image.
        batch_size: images per step and process.
        num_workers: processes that load images; None is one per core, at most 8.
    """

    eval_transform: SegmentationEvalTransform
    collate = staticmethod(collate_lists)

    def __init__(
        self,
        classes: Sequence[str],
        eval_transform: SegmentationEvalTransform,
        crop: Sequence[int],
        batch_size: int,
        num_workers: int | None,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.classes = list(classes)
        self.eval_transform = eval_transform
        self.augmentation = SegmentationTrainTransform(crop, eval_transform.scale)

    def read_split(self, split: str) -> list[Pair]:
        """Find the images and masks of "train", "val" or "test"."""
        raise NotImplementedError

    @cached_property
    def splits(self) -> dict[str, list[Pair]]:
        """The three splits, found once."""
        return {split: self.read_split(split) for split in ("train", "val", "test")}

    def train_dataset(self) -> Dataset[SegmentationBatch]:
        return Examples(self.splits["train"], self.eval_transform, self.augmentation)

    def val_dataset(self) -> Dataset[SegmentationBatch]:
        return Examples(self.splits["val"], self.eval_transform)

    def test_dataset(self) -> Dataset[SegmentationBatch]:
        return Examples(self.splits["test"], self.eval_transform)

    def predict_dataset(self) -> Dataset[PredictionBatch]:
        return Unlabelled([pair.image for pair in self.splits["test"]], self.eval_transform)


class Examples(Dataset[SegmentationBatch]):
    """Images with their masks, whole, or parts of them to learn from."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        eval_transform: SegmentationEvalTransform,
        augmentation: SegmentationTrainTransform | None = None,
    ) -> None:
        self.pairs, self.eval_transform, self.augmentation = pairs, eval_transform, augmentation
        self.table = eval_transform.table

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> SegmentationBatch:  # one image and its mask, not yet a list
        pair = self.pairs[index]
        image = read_image(pair.image)
        mask = read_mask(pair.mask, self.table, image.shape[1:])
        if self.augmentation is not None:
            image, mask = self.augmentation(image, mask)
        return SegmentationBatch(self.eval_transform(image), mask.long())  # type: ignore[arg-type]


class Unlabelled(Dataset[PredictionBatch]):
    """Images under their paths."""

    def __init__(self, paths: Sequence[Path], eval_transform: SegmentationEvalTransform) -> None:
        self.paths, self.eval_transform = paths, eval_transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> PredictionBatch:
        return PredictionBatch(self.eval_transform(read_image(self.paths[index])), str(self.paths[index]))
