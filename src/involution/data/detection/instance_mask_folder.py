"""Images with instance masks: `images/*.jpg` and `masks/*.png`, as in the Penn-Fudan data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.ops import masks_to_boxes

from involution.data.dataset import ImageSource
from involution.data.detection.data_module import DetectionDataModule
from involution.data.detection.train_transform import Augmentation
from involution.data.files import PathArray, read_image, read_values
from involution.data.module import Split
from involution.data.sampler import SPLIT_SEED


class InstanceMaskFolder(DetectionDataModule):
    """Objects of one class. In the mask of an image, 0 is the background and every other value an object.

    This is the layout of the pedestrians of Wang et al., "Object detection combining recognition and segmentation",
    ACCV 2007. The validation images are also the test images.

    Args:
        root: folder with `images` and `masks`, whose files have the same names.
        num_val_images: number of validation images, which are the same in every run.
        batch_size: images per step and process.
        class_name: name of the class.
        augmentation: see `DetectionTrainTransform`.
        num_workers, max_corrupt_images: see `DataModule`.

    Raises:
        ValueError: a folder is missing, an image has no mask or one of another size, or too few images are left.
    """

    def __init__(
        self,
        root: str,
        num_val_images: int,
        batch_size: int,
        class_name: str = "object",
        augmentation: Augmentation = "ssd",
        num_workers: int | None = None,
        max_corrupt_images: int = 0,
    ) -> None:
        super().__init__(augmentation, batch_size, num_workers, max_corrupt_images)
        self.root, self.num_val_images = Path(root), num_val_images
        self.classes = [class_name]

    def source(self, split: Split) -> InstanceMasks:
        return self._train_and_val[0 if split == "train" else 1]

    @cached_property
    def _train_and_val(self) -> tuple[InstanceMasks, InstanceMasks]:
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
        order = torch.randperm(len(found), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
        val, train = sorted(order[: self.num_val_images]), sorted(order[self.num_val_images :])
        return InstanceMasks([found[i] for i in train]), InstanceMasks([found[i] for i in val])


class InstanceMasks(ImageSource):
    """Images in a folder, and their masks in the sibling folder `masks`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = PathArray(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index]

    def image(self, index: int) -> Tensor:
        return read_image(self.paths[index])

    def target(self, index: int, height: int, width: int) -> dict[str, Tensor]:
        path = Path(self.paths[index])
        file = path.parents[1] / "masks" / f"{path.stem}.png"
        numbers = torch.from_numpy(read_values(file, (height, width)))
        values = numbers.unique()
        masks = (numbers == values[values > 0][:, None, None]).to(torch.uint8)
        boxes = masks_to_boxes(masks)
        boxes[:, 2:] += 1  # masks_to_boxes returns the last pixel; boxes end one pixel after it
        return {"boxes": boxes, "labels": torch.ones(len(masks), dtype=torch.int64), "masks": masks}
