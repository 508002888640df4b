"""Images with objects in them: what every data set for detection shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Image, Mask

from involution.data.batch import DetectionBatch, PredictionBatch, collate_lists
from involution.data.files import read_image
from involution.data.module import DataModule


@dataclass(frozen=True)
class DetectionEvalTransform:
    """Keep the size of the image: detectors resize themselves. The image becomes float32 in [0, 1]."""

    channels: int = 3

    def __call__(self, image: Tensor) -> Tensor:
        return v2.functional.to_dtype(image, torch.float32, scale=True)


class Annotated:
    """Images on disk with their objects; the subclass knows where those are."""

    def __len__(self) -> int:
        raise NotImplementedError

    def path(self, index: int) -> Path:
        """Return where an image is."""
        raise NotImplementedError

    def read(self, index: int) -> Tensor:
        """Decode an image."""
        return read_image(self.path(index))

    def target(self, index: int, height: int, width: int) -> dict[str, Tensor]:
        """Return the objects of an image; see `DetectionBatch`."""
        raise NotImplementedError


class DetectionDataModule(DataModule):
    """Base of the data modules for detection.

    Args:
        batch_size: images per step and process.
        num_workers: processes that load images; None is one per core, at most 8.
        zoom: learn from parts of images and from images in a larger frame, in changed colours; Liu et al., "SSD", ECCV
            2016, section 2.2. Otherwise mirroring alone, as the paper.
    """

    collate = staticmethod(collate_lists)

    def __init__(self, batch_size: int, num_workers: int | None, zoom: bool) -> None:
        super().__init__(batch_size, num_workers)
        self.eval_transform = DetectionEvalTransform()
        self.zoom = zoom

    def learned(self) -> Annotated:
        """Find the images to learn from."""
        raise NotImplementedError

    def judged(self) -> Annotated:
        """Find the images to be judged by."""
        raise NotImplementedError

    def train_dataset(self) -> Dataset[DetectionBatch]:
        return Examples(self.learned(), augmentation(self.zoom))

    def val_dataset(self) -> Dataset[DetectionBatch]:
        return Examples(self.judged(), None)

    test_dataset = val_dataset

    def predict_dataset(self) -> Dataset[PredictionBatch]:
        return Unlabelled(self.judged())


class Examples(Dataset[DetectionBatch]):
    """Images with their objects, augmented or not; crowds are to be judged with, not to be learned from."""

    def __init__(self, annotated: Annotated, augment: v2.Transform | None) -> None:
        self.annotated, self.augment = annotated, augment

    def __len__(self) -> int:
        return len(self.annotated)

    def __getitem__(self, index: int) -> DetectionBatch:  # one image and its target, not yet a list
        image = self.annotated.read(index)
        target = self.annotated.target(index, *image.shape[1:])
        if self.augment is not None:
            image, target = self.augment(*wrapped(image, without_crowds(target)))
        return DetectionBatch(DetectionEvalTransform()(image), target)  # type: ignore[arg-type]


class Unlabelled(Dataset[PredictionBatch]):
    """Images under their paths."""

    def __init__(self, annotated: Annotated) -> None:
        self.annotated = annotated

    def __len__(self) -> int:
        return len(self.annotated)

    def __getitem__(self, index: int) -> PredictionBatch:
        return PredictionBatch(DetectionEvalTransform()(self.annotated.read(index)), str(self.annotated.path(index)))


def augmentation(zoom: bool) -> v2.Transform:
    """Return what happens to an image and its objects together."""
    steps: list[v2.Transform] = [v2.ClampBoundingBoxes(), v2.RandomHorizontalFlip()]
    if zoom:
        steps += [v2.RandomPhotometricDistort(), v2.RandomZoomOut(side_range=(1.0, 2.0)), v2.RandomIoUCrop()]
    # Cropping leaves boxes without area; they go, and with them labels and masks.
    return v2.Compose([*steps, v2.SanitizeBoundingBoxes(labels_getter=_per_object), v2.ToPureTensor()])


def wrapped(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Mark what is an image, a box and a mask, so that transforms know how to move it."""
    size = tuple(image.shape[1:])
    marked = {**target, "boxes": BoundingBoxes(target["boxes"], format=BoundingBoxFormat.XYXY, canvas_size=size)}
    if "masks" in target:
        marked["masks"] = Mask(target["masks"])
    return Image(image), marked


def without_crowds(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the objects that are single."""
    if "iscrowd" not in target:
        return target
    single = target["iscrowd"] == 0
    return {name: values[single] for name, values in target.items()}


def _per_object(example: Any) -> Sequence[Tensor]:
    """Return what has an entry per object besides boxes and masks."""
    return [values for name, values in example[1].items() if name not in ("boxes", "masks")]
