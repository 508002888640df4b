"""Small images in memory, and random crops of whole batches.

All images are one uint8 tensor, so that nothing is decoded during the training and a GPU holds them all. The parameters
of the crops are those of torchvision's `RandomResizedCrop`; one call of `grid_sample` cuts a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from involution.data import ImageFolder


@dataclass(frozen=True)
class Images:
    """Images of one size with their labels.

    Attributes:
        pixels: uint8 [N, 3, H, W].
        labels: int64 [N].
        classes: names, in the order of the labels.
    """

    pixels: Tensor
    labels: Tensor
    classes: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Self:
        """Return them on a device."""
        return type(self)(self.pixels.to(device), self.labels.to(device), self.classes)

    def take(self, chosen: Tensor) -> Self:
        """Return the images at these indices."""
        return type(self)(self.pixels[chosen], self.labels[chosen], self.classes)


def load(root: Path, cache: Path) -> dict[str, Images]:
    """Return the images of the splits "train" and "val".

    Args:
        root: with a folder per class in `train` and in `val`; all images have one size.
        cache: file to which the decoded images are written, and from which they are read the next time.
    """
    if not cache.exists():
        splits = ImageFolder(str(root), size=64, resize=64, padding=None, batch_size=1).read_splits()
        classes = sorted(folder.name for folder in (root / "train").iterdir() if folder.is_dir())
        content = {}
        for name, source in (("train", splits.train), ("val", splits.val)):
            pixels = torch.stack([source.image(index) for index in range(len(source))])
            content[name] = (pixels, torch.from_numpy(source.labels), classes)
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(f".{torch.initial_seed()}.part")
        torch.save(content, part)
        part.replace(cache)
    found = torch.load(cache, mmap=True, weights_only=True)  # two processes share the memory of the file
    return {name: Images(*values) for name, values in found.items()}


def hold_out(images: Images, fraction: float) -> tuple[Images, Images]:
    """Split off the last images of every class; return the rest and these."""
    held = torch.zeros(len(images), dtype=torch.bool)
    for label in range(len(images.classes)):
        members = (images.labels == label).nonzero().flatten()
        held[members[len(members) - round(fraction * len(members)) :]] = True
    return images.take(~held), images.take(held)


def random_crops(pixels: Tensor, size: int, area: tuple[float, float]) -> Tensor:
    """Cut a random part of every image, resize it to `size` pixels bilinearly, and flip half of them.

    Args:
        pixels: uint8 [B, 3, H, W].
        size: side of the crops in pixels.
        area: smallest and largest fraction of the image; the aspect ratio is from 3/4 to 4/3.

    Returns:
        float32 [B, 3, size, size] in [0, 255].
    """
    count = len(pixels)
    shares = torch.empty(count).uniform_(*area)
    aspects = torch.empty(count).uniform_(math.log(3 / 4), math.log(4 / 3)).exp()
    width, height = (shares * aspects).sqrt().clamp(max=1), (shares / aspects).sqrt().clamp(max=1)
    x, y = ((torch.rand(count) * 2 - 1) * (1 - side) for side in (width, height))
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    zero = torch.zeros(count)
    theta = torch.stack([width * flip, zero, x, zero, height, y], 1).view(count, 2, 3).to(pixels.device)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    return F.grid_sample(pixels.float(), grid, padding_mode="reflection", align_corners=False)
