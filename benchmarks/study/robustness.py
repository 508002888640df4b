"""Images of the validation set that are shifted, partly covered, or larger than in the training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

SEED = 0
SHIFT = 0.25
COVERED = 0.25
LARGER = 1.5

Change = Callable[[Tensor], Tensor]
"""uint8 [N, 3, H, W] → uint8 [N, 3, H', W']."""


def shifted(pixels: Tensor) -> Tensor:
    """Shift every image by up to a quarter of its size in both directions; the rest is black."""
    return _each(v2.RandomAffine(degrees=0, translate=(SHIFT, SHIFT)), pixels)


def occluded(pixels: Tensor) -> Tensor:
    """Cover a quarter of every image with a black square."""
    return _each(v2.RandomErasing(p=1, scale=(COVERED, COVERED), ratio=(1, 1), value=0), pixels)


def larger(pixels: Tensor) -> Tensor:
    """Enlarge every image."""
    size = [round(LARGER * side) for side in pixels.shape[-2:]]
    return v2.functional.resize(pixels, size, antialias=True)


def _each(transform: v2.Transform, pixels: Tensor) -> Tensor:
    """Apply a random transform to every image, the same for every network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return torch.stack([transform(image) for image in pixels.cpu()]).to(pixels.device)


CHANGES: dict[str, Change] = {"shifted": shifted, "occluded": occluded, "larger": larger}
