"""Images with a mask that numbers the objects: `images/*.jpg` and `masks/*.png`, as in the Penn-Fudan pedestrians."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.ops import masks_to_boxes

from involution.data.classification.split import SEED
from involution.data.detection.data_module import Annotated, DetectionDataModule


class InstanceMaskFolder(DetectionDataModule):
    """DetectionBatch of one class. In the mask of an image, 0 is the background and every other value an object.

    Wang et al., "Object detection combining recognition and segmentation", ACCV 2007, is where the pedestrians come
    from.

    Args:
        root: folder with `images` and, under the same names, `masks`.
        num_val_images: images to be judged by, the same in every run.
        batch_size: images per step and process.
        class_name: of the objects.
        zoom: of `DetectionDataModule`.
        num_workers: processes that load images; None is one per core, at most 8.

    Raises:
        ValueError: a folder is missing, an image has no mask or one of another size, or too few images are left.
    """

    def __init__(
        self,
        root: str,
        num_val_images: int,
        batch_size: int,
        class_name: str = "object",
        zoom: bool = True,
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, zoom)
        self.root, self.num_val_images = Path(root), num_val_images
        self.classes = [class_name]

    def learned(self) -> Annotated:
        return self._split()[0]

    def judged(self) -> Annotated:
        return self._split()[1]

    def _split(self) -> tuple[Masked, Masked]:
        folder = self.root / "images"
        if not folder.is_dir():
            raise ValueError(
                f"root: expected a folder with images and masks, got {self.root}, which has no {folder.name}"
            )
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMG_EXTENSIONS)
        if not 0 < self.num_val_images < len(found):
            raise ValueError(
                f"num_val_images: expected fewer than the {len(found)} images of {folder}, got {self.num_val_images}"
            )
        order = torch.randperm(len(found), generator=torch.Generator().manual_seed(SEED)).tolist()
        test, train = sorted(order[: self.num_val_images]), sorted(order[self.num_val_images :])
        return Masked([found[i] for i in train]), Masked([found[i] for i in test])


class Masked(Annotated):
    """Images with the masks that lie beside their folder."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> Path:
        return self.paths[index]

    def target(self, index: int, height: int, width: int) -> dict[str, Tensor]:
        path = self.paths[index]
        file = path.parents[1] / "masks" / f"{path.stem}.png"
        if not file.is_file():
            raise ValueError(f"mask: expected {file} for image {path.name}, which does not exist")
        with Image.open(file) as mask:
            numbers = torch.from_numpy(np.array(mask))
        if numbers.shape != (height, width):
            size = " x ".join(map(str, numbers.shape))
            raise ValueError(f"mask: expected {height} x {width} as image {path.name}, got {file} of {size}")
        values = numbers.unique()
        masks = (numbers == values[values > 0][:, None, None]).to(torch.uint8)
        boxes = masks_to_boxes(masks)
        boxes[:, 2:] += 1  # to the far side of the last pixel
        return {"boxes": boxes, "labels": torch.ones(len(masks), dtype=torch.int64), "masks": masks}
