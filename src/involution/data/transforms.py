"""The base class of transforms, and the transforms of classification.

Images are resized bilinearly; by default without antialiasing, as for the released networks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor
from torchvision.transforms import v2

LONGEST = 32
"""Ratio of the sides of an image, of which the middle is used if it is longer."""


class EvalTransform:
    """Base class of the transforms for evaluation. They are dataclasses, whose fields are stored in checkpoints."""

    channels: int
    """Of the images that it takes: 3 for RGB, 1 for grey."""

    def image(self, image: Tensor) -> Tensor:
        """Transform uint8 [C, H, W]; return it unchanged by default."""
        return image

    def __call__(self, image: Tensor, *target: Any) -> Any:
        """Transform the image and return its target unchanged, with the interface of torchvision's transforms v2."""
        return (self.image(image), *target) if target else self.image(image)


@dataclass(frozen=True)
class ClassificationEvalTransform(EvalTransform):
    """Resize the short side, crop the centre.

    Args:
        resize: length of the short side, in pixels.
        crop: side of the square crop, in pixels.
        channels: 3 for RGB, 1 for grey.
        antialias: whether to average the pixels that a resized one covers; for networks of small images.

    >>> ClassificationEvalTransform(resize=256, crop=224, channels=3)(torch.zeros(3, 500, 375, dtype=torch.uint8)).shape
    torch.Size([3, 224, 224])
    """

    resize: int
    crop: int
    channels: int
    antialias: bool = False

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "antialias" and value < 1:
                raise ValueError(f"{name}: expected a positive number, got {value}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels: expected 1 or 3, got {self.channels}")

    def image(self, image: Tensor) -> Tensor:
        short = min(image.shape[-2:])
        if max(image.shape[-2:]) > LONGEST * short:  # resized, a line of pixels would fill the memory
            image = v2.functional.center_crop(image, [min(side, LONGEST * short) for side in image.shape[-2:]])
        image = v2.functional.resize(image, [self.resize], antialias=self.antialias)
        return v2.functional.center_crop(image, [self.crop, self.crop])


def random_resized_crop(size: int, randaugment_magnitude: int | None = None) -> v2.Transform:
    """Crop 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3, resize to `size`, flip half of the images.

    Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6. The released classifiers use it.

    Args:
        size: side of the crop, in pixels.
        randaugment_magnitude: strength of two further operations, 0 to 30; Cubuk et al., "RandAugment", 2020. None
            for none.
    """
    steps: list[v2.Transform] = [
        v2.RandomResizedCrop(size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), antialias=False),
        v2.RandomHorizontalFlip(),
    ]
    if randaugment_magnitude is not None:
        if not 0 <= randaugment_magnitude <= 30:
            raise ValueError(f"randaugment_magnitude: expected 0 to 30 or null, got {randaugment_magnitude}")
        steps.append(v2.RandAugment(num_ops=2, magnitude=randaugment_magnitude))
    return v2.Compose(steps)


def padded_crop(eval_transform: ClassificationEvalTransform, padding: int, flip: bool = True) -> v2.Transform:
    """Shift the image by up to `padding` pixels, filling with black, and flip half of the images.

    He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2, with 4 pixels at 32 x 32.
    """
    steps = [
        v2.Resize(eval_transform.resize, antialias=False),
        v2.CenterCrop(eval_transform.crop),
        v2.RandomCrop(eval_transform.crop, padding=padding),
    ]
    return v2.Compose([*steps, v2.RandomHorizontalFlip()] if flip else steps)
