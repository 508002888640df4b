"""From a decoded image, uint8 [C, H, W], to the input of a network, float32 in [0, 1] of a fixed size.

Images are resized bilinearly without antialiasing, as the released networks were trained and tested.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2


@dataclass(frozen=True)
class ClassificationEvalTransform:
    """Resize the short side, crop the centre: what an image goes through before it is judged.

    Args:
        resize: length of the short side, in pixels.
        crop: side of the central square that is kept.
        channels: 3 for RGB, 1 for grey.

    >>> ClassificationEvalTransform(resize=256, crop=224, channels=3)(torch.zeros(3, 500, 375, dtype=torch.uint8)).shape
    torch.Size([3, 224, 224])
    """

    resize: int
    crop: int
    channels: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name}: expected a positive number, got {value}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels: expected 1 or 3, got {self.channels}")

    def __call__(self, image: Tensor) -> Tensor:
        image = v2.functional.resize(image, [self.resize], antialias=False)
        image = v2.functional.center_crop(image, [self.crop, self.crop])
        return v2.functional.to_dtype(image, torch.float32, scale=True)


def resized_crop(size: int) -> v2.Transform:
    """Cut 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3, resize to `size`, mirror half of the images.

    Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6; the training of the released classifiers.
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), antialias=False),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


def padded_crop(eval_transform: ClassificationEvalTransform, padding: int, mirror: bool = True) -> v2.Transform:
    """Shift the image by up to `padding` pixels, filling with black, and mirror half of the images.

    He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2, with 4 pixels at 32 x 32.
    """
    steps = [v2.Lambda(eval_transform), v2.RandomCrop(eval_transform.crop, padding=padding)]
    return v2.Compose([*steps, v2.RandomHorizontalFlip()] if mirror else steps)
