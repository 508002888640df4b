"""COCO: one folder of images and one JSON file of annotations per split. Lin et al., ECCV 2014."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_convert

from involution.data.dataset import ImageSource
from involution.data.detection.coco_annotations import COCOAnnotations
from involution.data.detection.data_module import DetectionDataModule
from involution.data.detection.run_lengths import decode_mask
from involution.data.detection.train_transform import Augmentation
from involution.data.files import read_image
from involution.data.module import Split


class COCO(DetectionDataModule):
    """The directory layout of COCO: `root/SPLIT/*.jpg` and `root/annotations/instances_SPLIT.json`.

    Categories have labels from 1 in the order of their ids; results are written with the ids. Crowds are ignored in
    training and evaluated by the rules of COCO. The validation images are also the test images.

    Args:
        root: the directory.
        batch_size: images per step and process.
        train_split, val_split: names of the splits.
        masks: also read masks, from polygons or run lengths.
        drop_empty: drop training images without annotations, as mmdet does.
        group_by_aspect_ratio: do not mix training images wider than high with others in a batch. This reduces
            padding. The last batch of each group is filled with images of the same group.
        augmentation: see `DetectionTrainTransform`.
        num_workers, max_corrupt_images: see `DataModule`.

    Raises:
        ValueError: a file or an image is missing or cannot be read, or an annotation refers to an unknown image or
            category; the message names it.

    Warns:
        UserWarning: boxes are empty or extend beyond their image; the message has their number. Evaluation uses them
            unchanged; training clips them and drops those that are then empty.
    """

    def __init__(
        self,
        root: str,
        batch_size: int,
        train_split: str = "train2017",
        val_split: str = "val2017",
        masks: bool = False,
        drop_empty: bool = False,
        group_by_aspect_ratio: bool = False,
        augmentation: Augmentation = "hflip",
        num_workers: int | None = None,
        max_corrupt_images: int = 0,
    ) -> None:
        super().__init__(augmentation, batch_size, num_workers, max_corrupt_images)
        self.root, self.train_split, self.val_split, self.masks = Path(root), train_split, val_split, masks
        self.drop_empty, self.group_by_aspect_ratio = drop_empty, group_by_aspect_ratio

    def prepare_data(self) -> None:
        """Report missing images before the run starts. Lightning calls this in one process per node."""
        self.train.check_files()
        self.val.check_files()

    @cached_property
    def val(self) -> COCOSource:
        """The validation images."""
        return COCOSource(self.root, self.val_split, self.masks)

    @cached_property
    def train(self) -> COCOSource:
        """The training images."""
        train = COCOSource(self.root, self.train_split, self.masks, self.drop_empty)
        if train.annotations.categories != self.val.annotations.categories:
            raise ValueError(f"root: expected the categories of {self.val.file} in {train.file}, got others")
        return train

    @property
    def classes(self) -> list[str]:  # type: ignore[override]
        """Names of the categories in the order of their ids."""
        return list(self.val.annotations.categories.values())

    def source(self, split: Split) -> COCOSource:
        return self.train if split == "train" else self.val

    def groups(self) -> Tensor | None:
        return self.train.is_wide() if self.group_by_aspect_ratio else None

    def results(self, summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return detections in COCO's results format: one entry per object, with its original category id."""
        annotations = self.val.annotations
        image_ids = dict(zip(annotations.file_names, annotations.image_ids.tolist(), strict=True))
        category_ids = list(annotations.categories)
        return [
            {
                "image_id": image_ids[Path(summary["image"]).relative_to(self.val.folder).as_posix()],
                "category_id": category_ids[found["label"] - 1],
                "bbox": found["box"],
                "score": found["score"],
                **({"segmentation": found["mask"]} if "mask" in found else {}),
            }
            for summary in summaries
            for found in summary["objects"]
        ]


class COCOSource(ImageSource):
    """One split. Images are in the order of their ids, the order in which COCO ranks equal scores."""

    def __init__(self, root: Path, split: str, masks: bool, drop_empty: bool = False) -> None:
        self.folder, self.file, self.masks = root / split, root / "annotations" / f"instances_{split}.json", masks
        self.annotations = COCOAnnotations(self.file, masks)
        self.indices = np.arange(len(self.annotations.image_ids))
        if drop_empty:
            self.indices = self.indices[self.annotations.counts > 0]

    def check_files(self) -> None:
        """Raise `ValueError` if an image does not exist. Listing each folder once is cheaper than a query per file."""
        names = self.annotations.file_names
        folders = {parent: _listed(self.folder / parent) for parent in {os.path.dirname(name) for name in names}}
        for number, name in zip(self.annotations.image_ids.tolist(), names, strict=True):
            parent, base = os.path.split(name)
            if base not in folders[parent]:
                raise ValueError(f"image: expected a file, got no {self.folder / name}, image {number} of {self.file}")

    def is_wide(self) -> Tensor:
        """Return for every image whether it is wider than high, as 0 or 1."""
        sizes = self.annotations.sizes[self.indices]
        return torch.from_numpy((sizes[:, 1] > sizes[:, 0]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return str(self.folder / self.annotations.file_names[int(self.indices[index])])

    def image(self, index: int) -> Tensor:
        try:
            return read_image(self.name(index))
        except ValueError as error:
            number = self.annotations.image_ids[self.indices[index]]
            raise type(error)(f"{error}, image {number} of {self.file}") from None

    def target(self, index: int, height: int, width: int) -> dict[str, Tensor]:
        annotations = self.annotations
        rows = annotations.of_image(int(self.indices[index]))
        target = {
            "boxes": box_convert(torch.from_numpy(annotations.boxes[rows]), "xywh", "xyxy").float(),
            "labels": torch.from_numpy(annotations.labels[rows].astype(np.int64)),
            "iscrowd": torch.from_numpy(annotations.is_crowd[rows].astype(np.int64)),
            "area": torch.from_numpy(annotations.areas[rows].astype(np.float32)),
        }
        if self.masks:
            masks = [self._mask(row, height, width) for row in rows.tolist()]
            target["masks"] = torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.uint8)
        return target

    def _mask(self, row: int, height: int, width: int) -> Tensor:
        try:
            return decode_mask(self.annotations.segmentation(row), height, width)
        except ValueError as error:
            raise ValueError(f"{error} in annotation {self.annotations.ids[row]} of {self.file}") from None


def _listed(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
