"""The annotations of COCO in arrays, which need a tenth of the memory of Python objects."""

from __future__ import annotations

import json
import pickle
import warnings
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from involution.data.files import PathArray
from involution.weights import check_regular


class COCOAnnotations:
    """The annotations of one file.

    Entries are packed while the file is parsed, so the file is never held in memory as Python objects. Arrays are
    shared with forked worker processes.

    Args:
        file: annotation file in the format of COCO.
        segmentations: keep polygons and run lengths.

    Raises:
        ValueError: the file is missing or has another format, or an annotation refers to an unknown image or category.

    Warns:
        UserWarning: boxes are empty or extend beyond their image.
    """

    categories: dict[int, str]
    """Names by their ids, in the order of the ids. Label n belongs to the n-th of them, from 1."""

    image_ids: np.ndarray  # [images], ascending
    file_names: PathArray
    sizes: np.ndarray  # [images, 2], height and width in pixels
    counts: np.ndarray  # [images], number of annotations

    ids: np.ndarray  # [annotations], in the order of the file, as all that follow
    boxes: np.ndarray  # [annotations, 4], float64, x, y, width and height in pixels
    areas: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray

    def __init__(self, file: Path, segmentations: bool) -> None:
        self.file = file
        packed = _Packed(segmentations)
        content = packed.parse(file)
        try:
            categories = sorted((c["id"], c["name"]) for c in content["categories"])
            for part, keys in (("images", _Packed.IMAGE), ("annotations", _Packed.ANNOTATION)):
                if left := [entry for entry in content[part] if isinstance(entry, dict)]:
                    raise KeyError(next(key for key in keys if key not in left[0]))
            images = sorted(content["images"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"root: expected the format of COCO in {file}, got an entry without {error}") from None
        self.categories = dict(categories)
        self.image_ids = np.array([image[0] for image in images], dtype=np.int64)
        self.file_names = PathArray(image[1] for image in images)
        self.sizes = np.array([image[2:] for image in images], dtype=np.int32).reshape(-1, 2)
        self.ids, self.areas = np.array(packed.ids), np.array(packed.areas)
        self.boxes = np.array(packed.boxes).reshape(-1, 4)
        self.is_crowd = np.array(packed.is_crowd, dtype=bool)
        self._segmentations = np.frombuffer(bytes(packed.segmentations), dtype=np.uint8)
        self._ends = np.array(packed.ends)
        category_ids = np.array(list(self.categories), dtype=np.int64)
        self.labels = self._positions("category_id", category_ids, packed).astype(np.int16) + 1
        image_of = self._positions("image_id", self.image_ids, packed)
        self.counts = np.bincount(image_of, minlength=len(images))
        self._order, self._starts = np.argsort(image_of, kind="stable"), np.cumsum(self.counts) - self.counts
        self._warn_of_boxes(image_of)

    def of_image(self, index: int) -> np.ndarray:
        """Return the rows of the annotations of the image at this index, in the order of the file."""
        return self._order[self._starts[index] : self._starts[index] + self.counts[index]]

    def segmentation(self, row: int) -> Any:
        """Return the segmentation as in the file: polygons, run lengths, or any other value."""
        start = self._ends[row - 1] if row else 0
        return pickle.loads(self._segmentations[start : self._ends[row]].tobytes())

    def _positions(self, key: str, known: np.ndarray, packed: _Packed) -> np.ndarray:
        """Return the positions of ids in an ascending array of known ids."""
        wanted = np.array(getattr(packed, f"{key}s"), dtype=np.int64)
        found = np.searchsorted(known, wanted)
        if len(unknown := np.flatnonzero(~np.isin(wanted, known))):
            row = unknown[0]
            raise ValueError(
                f"{key}: expected one that {self.file} lists, got {wanted[row]} in annotation {packed.ids[row]} of "
                f"image {packed.image_ids[row]}"
            )
        return found

    def _warn_of_boxes(self, image_of: np.ndarray) -> None:
        corner, size, image = self.boxes[:, :2], self.boxes[:, 2:], self.sizes[image_of][:, ::-1]
        beyond = (corner + size > image + 1).any(1)  # boxes of COCO itself are off by up to a pixel
        wrong = np.flatnonzero(beyond | (corner < 0).any(1) | (size <= 0).any(1))
        if len(wrong):
            warnings.warn(
                f"{len(wrong)} boxes of {self.file} are empty or reach out of their image, the first is annotation "
                f"{self.ids[wrong[0]]} of {self.file_names[int(image_of[wrong[0]])]}; training clips them, and drops "
                f"those of which nothing remains",
                stacklevel=2,
            )


class _Packed:
    """Growable arrays that the parser fills."""

    IMAGE = ("id", "file_name", "height", "width")
    ANNOTATION = ("id", "image_id", "category_id", "bbox", "area")

    def __init__(self, segmentations: bool) -> None:
        self.ids, self.image_ids, self.category_ids = array("q"), array("q"), array("q")
        self.boxes, self.areas, self.is_crowd = array("d"), array("d"), array("b")
        self.segmentations, self.ends, self.keep_segmentations = bytearray(), array("q"), segmentations

    def parse(self, file: Path) -> Any:
        """Parse JSON. In the result, annotations are None and images are tuples (id, name, height, width)."""
        check_regular(file, "root")
        try:
            with open(file, encoding="utf-8") as stream:
                content = json.load(stream, object_hook=self._pack)
        except FileNotFoundError:
            raise ValueError(f"root: expected a file of annotations, got no {file}") from None
        except (ValueError, TypeError, OverflowError, OSError) as error:
            raise ValueError(f"root: expected annotations as JSON, got {file} ({error})") from None
        return content

    def _pack(self, entry: dict[str, Any]) -> Any:
        """Store the required fields of an object that the parser has just finished."""
        if entry.keys() >= set(self.IMAGE):
            return tuple(entry[key] for key in self.IMAGE)
        if not entry.keys() >= set(self.ANNOTATION):
            return entry
        self.ids.append(entry["id"])
        self.image_ids.append(entry["image_id"])
        self.category_ids.append(entry["category_id"])
        if len(entry["bbox"]) != 4:
            raise ValueError(f"annotation {entry['id']}: expected a bbox of four numbers, got {entry['bbox']}")
        self.boxes.extend(entry["bbox"])
        self.areas.append(entry["area"])
        self.is_crowd.append(entry.get("iscrowd", 0))
        if self.keep_segmentations:
            self.segmentations += pickle.dumps(entry.get("segmentation"), protocol=5)
        self.ends.append(len(self.segmentations))
        return None
