"""Views that split and merge axes: channels of interleaved groups, and output pixels that share a window.

The operators read two properties of an involution from the number of axes, so that neither needs an argument or a copy:

    feature map   [B, C, *pixels]            the channels of a group are neighbours
                  [B, C/G, G, *pixels]       they are G apart
    kernel        [B, G, Kh, Kw, Ho, Wo]             one kernel a window
                  [B, G, Kh, Kw, Ho, Sh, Wo, Sw]     Sh·Sw kernels, for as many output pixels: the scale

where the output has the pixels of the kernel, [Ho, Wo] or [Ho, Sh, Wo, Sw].
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor

Ints = Sequence[int]


def lead(t: Tensor) -> int:
    """Return the number of axes before the pixels of a feature map: batch and one or two of channels."""
    return 2 + t.dim() % 2


def pixels(t: Tensor) -> int:
    """Return the number of axes of the pixels of a feature map, 2 or 4."""
    return t.dim() - lead(t)


def split_channels(x: Tensor, groups: int) -> Tensor:
    """Return [B, C, ...] as [B, C/G, G, ...]: channel c is in group c mod G."""
    batch, channels, *size = x.shape
    return x.view(batch, channels // groups, groups, *size)


def merge_channels(x: Tensor) -> Tensor:
    """Undo `split_channels`."""
    return x.flatten(1, 2)


def split_pixels(t: Tensor, scale: Ints) -> Tensor:
    """Return [..., Ho·Sh, Wo·Sw] as [..., Ho, Sh, Wo, Sw]."""
    height, width = t.shape[-2:]
    return t.unflatten(-1, (width // scale[1], scale[1])).unflatten(-3, (height // scale[0], scale[0]))


def merge_pixels(t: Tensor) -> Tensor:
    """Undo `split_pixels`."""
    return t.flatten(-2).flatten(-3, -2)


def ska(x: Tensor, w: Tensor) -> Tensor:
    """Return `involution2d` of interleaved groups with kernels [B, G, K·K, H, W], which keeps the size of `x`."""
    side = isqrt(w.shape[2])
    geometry = [1, 1], [(side - 1) // 2] * 2, [1, 1]
    kernel = w.unflatten(2, (side, side))
    return merge_channels(torch.ops.involution.involution2d(split_channels(x, w.shape[1]), kernel, *geometry))
