"""COCO: images in a folder per split, their objects in one JSON file per split. Lin et al., ECCV 2014."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_convert

from involution.data.detection.data_module import Annotated, DetectionDataModule
from involution.data.detection.run_lengths import decoded
from involution.data.files import read_image


class COCO(DetectionDataModule):
    """The directory layout of COCO: `root/SPLIT/*.jpg` and `root/annotations/instances_SPLIT.json`.

    Category ids become labels from 1 in their order, and ids again in the results that are written. Crowds are left
    out of what is learned from and count in judging as COCO wants it.

    Args:
        root: the directory.
        batch_size: images per step and process.
        train, val: names of the splits.
        masks: read masks too, from polygons or run lengths.
        zoom: of `DetectionDataModule`.
        num_workers: processes that load images; None is one per core, at most 8.

    Raises:
        ValueError: a file or an image is missing or cannot be read, or an annotation names what does not exist; the
            message says which.

    Warns:
        UserWarning: how many boxes reach out of their image or are empty. They are judged as they are; to learn from,
            they are clipped, and left out where less than a pixel remains.
    """

    def __init__(
        self,
        root: str,
        batch_size: int,
        train: str = "train2017",
        val: str = "val2017",
        masks: bool = False,
        zoom: bool = False,
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, zoom)
        self.root, self.names, self.masks = Path(root), (train, val), masks

    @cached_property
    def val(self) -> Instances:
        """The images to be judged by."""
        return Instances(self.root, self.names[1], self.masks)

    @property
    def classes(self) -> list[str]:  # type: ignore[override]
        """Names of the categories by their ids."""
        return list(self.val.categories.values())

    def learned(self) -> Annotated:
        train = Instances(self.root, self.names[0], self.masks)
        if train.categories != self.val.categories:
            raise ValueError(f"root: expected the categories of {self.val.file} in {train.file}, got others")
        return train

    def judged(self) -> Annotated:
        return self.val

    def results(self, summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return detections in COCO's format of results: one entry per object, with its original category id."""
        images = {image["file_name"]: number for number, image in self.val.images.items()}
        categories = {name: number for number, name in self.val.categories.items()}
        return [
            {
                "image_id": images[Path(summary["image"]).relative_to(self.val.folder).as_posix()],
                "category_id": categories[found["name"]],
                "bbox": found["box"],
                "score": found["score"],
                **({"segmentation": found["mask"]} if "mask" in found else {}),
            }
            for summary in summaries
            for found in summary["objects"]
        ]


class Instances(Annotated):
    """One split: its images in the order of their ids, read when they are asked for."""

    def __init__(self, root: Path, split: str, masks: bool) -> None:
        self.folder, self.file, self.masks = root / split, root / "annotations" / f"instances_{split}.json", masks
        content = _read(self.file)
        try:
            self.images = {image["id"]: image for image in content["images"]}
            self.categories = {c["id"]: c["name"] for c in sorted(content["categories"], key=lambda c: c["id"])}
            self.objects = self._by_image(content["annotations"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"root: expected the format of COCO in {self.file}, got an entry without {error}"
            ) from None
        self.ids = sorted(self.images)  # the order in which COCO judges equal scores
        self.labels = {category: label for label, category in enumerate(self.categories, 1)}
        self._check()

    def _by_image(self, annotations: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
        found = defaultdict(list)
        for annotation in annotations:
            for key, known in (("image_id", self.images), ("category_id", self.categories)):
                if annotation[key] not in known:
                    raise ValueError(
                        f"{key}: expected one that {self.file} lists, got {annotation[key]} in annotation "
                        f"{annotation['id']} of image {annotation['image_id']}"
                    )
            found[annotation["image_id"]].append(annotation)
        return found

    def _check(self) -> None:
        """Miss images now, not hours later; count boxes that no detector can give."""
        for number, image in self.images.items():
            if not (path := self.folder / image["file_name"]).is_file():
                raise ValueError(f"image: expected {path}, image {number} of {self.file}, which does not exist")
        wrong = [
            annotation
            for number, found in self.objects.items()
            for annotation in found
            if self._is_outside(number, annotation)
        ]
        if wrong:
            image = self.images[wrong[0]["image_id"]]["file_name"]
            warnings.warn(
                f"{len(wrong)} boxes of {self.file} are empty or reach out of their image, the first is annotation "
                f"{wrong[0]['id']} of {image}; to learn from, they are clipped, and left out where nothing remains",
                stacklevel=2,
            )

    def _is_outside(self, number: int, annotation: dict[str, Any]) -> bool:
        (x, y, width, height), image = annotation["bbox"], self.images[number]
        far = x + width > image["width"] + 1 or y + height > image["height"] + 1  # COCO's own are off by up to a pixel
        return far or x < 0 or y < 0 or width <= 0 or height <= 0

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, index: int) -> Path:
        return self.folder / self.images[self.ids[index]]["file_name"]

    def read(self, index: int) -> Tensor:
        try:
            return read_image(self.path(index))
        except ValueError as error:
            raise ValueError(f"{error}, image {self.ids[index]} of {self.file}") from None

    def target(self, index: int, height: int, width: int) -> dict[str, Tensor]:
        found = self.objects.get(self.ids[index], [])
        boxes = torch.tensor([annotation["bbox"] for annotation in found], dtype=torch.float64).reshape(-1, 4)
        target = {
            "boxes": box_convert(boxes, "xywh", "xyxy").float(),
            "labels": torch.tensor([self.labels[a["category_id"]] for a in found], dtype=torch.int64),
            "iscrowd": torch.tensor([a.get("iscrowd", 0) for a in found], dtype=torch.int64),
            "area": torch.tensor([a["area"] for a in found], dtype=torch.float32),
        }
        if self.masks:
            masks = [self._mask(annotation, height, width) for annotation in found]
            target["masks"] = torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.uint8)
        return target

    def _mask(self, annotation: dict[str, Any], height: int, width: int) -> Tensor:
        try:
            return decoded(annotation.get("segmentation"), height, width)
        except ValueError as error:
            raise ValueError(f"{error} in annotation {annotation['id']} of {self.file}") from None


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"root: expected the annotations {file}, which do not exist") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"root: expected annotations as JSON, got {file} ({error})") from None
