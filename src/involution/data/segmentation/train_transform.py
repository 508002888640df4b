"""The joint transform of training images and their semantic masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from involution.data.batch import IGNORE_INDEX

TRIES = 10  # maximum number of crops that are drawn to satisfy `max_share`


class SegmentationTrainTransform:
    """Scale by 0.5 to 2, crop, flip half of the images, distort colors.

    This is the training transform of the released segmentors. Crops are redrawn if one class fills more than three
    quarters. Colors are distorted as in Liu et al., "SSD", ECCV 2016, section 2.2, each step for half of the images:
    brightness by 1/8 (here a factor), contrast and saturation by 1/2, hue by a tenth of the circle. Crops that exceed
    the image are padded with black pixels, which are ignored.

    Args:
        crop: height and width of the crop, in pixels.
        scale: fixed scale of the image, multiplied by the random one.

    Shape:
        uint8 [3, H, W] and uint8 [H, W] → the same dtypes and ranks, of the size of the crop.
    """

    def __init__(self, crop: Sequence[int], scale: float = 1.0) -> None:
        if len(crop) != 2 or min(crop) < 1:
            raise ValueError(f"crop: expected height and width in pixels, got {crop}")
        self.crop, self.scale = tuple(crop), scale
        self.scales, self.max_share, self.flip = (0.5, 2.0), 0.75, 0.5
        changes = (
            v2.ColorJitter(brightness=1 / 8),
            v2.ColorJitter(contrast=1 / 2),
            v2.ColorJitter(saturation=1 / 2),
            v2.ColorJitter(hue=1 / 10),
        )
        self.distort = v2.Compose([v2.RandomApply([change]) for change in changes])

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        factor = self.scale * torch.empty(()).uniform_(*self.scales).item()
        size = [max(1, round(side * factor)) for side in mask.shape]
        image = F.resize(image, size, antialias=False)
        mask = F.resize(mask[None], size, F.InterpolationMode.NEAREST_EXACT)[0]
        top, left = self.place(mask)
        image, mask = self.cut(image, top, left, fill=0), self.cut(mask, top, left, fill=IGNORE_INDEX)
        if torch.rand(()) < self.flip:
            image, mask = image.flip(-1), mask.flip(-1)
        return self.distort(image), mask

    def place(self, mask: Tensor) -> tuple[int, int]:
        """Draw the corner of a crop, again if one class has more than `max_share` of the labelled pixels."""
        room = [max(side - part, 0) for side, part in zip(mask.shape, self.crop, strict=True)]
        for _ in range(TRIES):
            top, left = (int(torch.randint(free + 1, ())) for free in room)
            counts = (
                self.cut(mask, top, left, fill=IGNORE_INDEX)
                .flatten()
                .bincount(minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX]
            )
            if counts.max() < self.max_share * counts.sum():
                break
        return top, left

    def cut(self, image: Tensor, top: int, left: int, fill: int) -> Tensor:
        """Return the crop at that corner, padded at the bottom and on the right beyond the image."""
        height, width = self.crop
        part = image[..., top : top + height, left : left + width]
        whole = part.new_full((*part.shape[:-2], height, width), fill)
        whole[..., : part.shape[-2], : part.shape[-1]] = part
        return whole
