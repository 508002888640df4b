"""The joint transform of training images and their objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Image, Mask

Augmentation = Literal["hflip", "ssd"]


class DetectionTrainTransform:
    """Drop crowds, clip boxes to the image, then augment; objects without a visible pixel are removed.

    Args:
        augmentation: "hflip" flips half of the images, as in the paper. "ssd" also distorts colors, places the image
            into a larger black frame and crops it; Liu et al., "SSD", ECCV 2016, section 2.2.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        if augmentation not in ("hflip", "ssd"):
            raise ValueError(f"augmentation: expected 'hflip' or 'ssd', got {augmentation!r}")
        steps: list[v2.Transform] = [v2.ClampBoundingBoxes(), v2.RandomHorizontalFlip()]
        if augmentation == "ssd":
            steps += [v2.RandomPhotometricDistort(), v2.RandomZoomOut(side_range=(1.0, 2.0)), v2.RandomIoUCrop()]
        # Clipping and cropping can produce boxes without area.
        self.transform = v2.Compose([*steps, v2.SanitizeBoundingBoxes(labels_getter=_per_object), v2.ToPureTensor()])

    def __call__(self, image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        if "iscrowd" in target:
            single = target["iscrowd"] == 0
            target = {name: values[single] for name, values in target.items()}
        size = tuple(image.shape[1:])
        boxes = BoundingBoxes(target["boxes"], format=BoundingBoxFormat.XYXY, canvas_size=size)
        marked = {**target, "boxes": boxes}
        if "masks" in target:
            marked["masks"] = Mask(target["masks"])
        return self.transform(Image(image), marked)


def _per_object(example: Any) -> Sequence[Tensor]:
    """Return the entries of the target, other than boxes and masks, that have one row per object."""
    return [values for name, values in example[1].items() if name not in ("boxes", "masks")]
