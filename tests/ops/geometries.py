"""Geometries that the operators are tested on, and tensors for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """Sizes of one involution; padding as "same" gives it, or `pad` rows and columns on each side."""

    batch: int = 2
    groups: int = 2
    group_channels: int = 16
    height: int = 6
    width: int = 7
    window: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] | None = None

    @property
    def channels(self) -> int:
        return self.groups * self.group_channels

    @property
    def size(self) -> list[int]:
        return [self.height, self.width]

    @property
    def out(self) -> list[int]:
        if self.pad is None:
            return [-(-n // s) for n, s in zip(self.size, self.stride, strict=True)]
        sizes = zip(self.size, self.pad, self.window, self.dilation, self.stride, strict=True)
        return [max((n + 2 * p - d * (k - 1) - 1) // s + 1, 1) for n, p, k, d, s in sizes]

    @property
    def padding(self) -> list[int]:
        if self.pad is not None:
            return list(self.pad)
        return [d * (k - 1) // 2 for k, d in zip(self.window, self.dilation, strict=True)]

    @property
    def arguments(self) -> tuple[list[int], list[int], list[int]]:
        """Stride, padding and dilation as the operators take them."""
        return list(self.stride), self.padding, list(self.dilation)

    def tensors(self, dtype=torch.float64, channels_last=False, reduced=5) -> dict[str, Tensor]:
        """Random x, kernel, grad of y, reduced features, span weight and bias."""
        taps = self.groups * self.window[0] * self.window[1]
        shapes = {
            "x": [self.batch, self.channels, *self.size],
            "grad": [self.batch, self.channels, *self.out],
            "reduced": [self.batch, reduced, *self.out],
            "kernel": [self.batch, taps, *self.out],
        }
        layout = torch.channels_last if channels_last else torch.contiguous_format
        tensors = {name: torch.randn(shape, dtype=torch.float64).to(dtype) for name, shape in shapes.items()}
        tensors = {name: value.contiguous(memory_format=layout) for name, value in tensors.items()}
        tensors["kernel"] = tensors["kernel"].unflatten(1, (self.groups, *self.window))
        tensors["weight"] = torch.randn(taps, reduced, dtype=torch.float64).to(dtype)
        tensors["bias"] = torch.randn(taps, dtype=torch.float64).to(dtype)
        return tensors


G = Geometry
GEOMETRIES = {
    "same 7x7": G(height=15, width=17, window=(7, 7)),
    "three tiles": G(height=5, width=23, window=(7, 7)),
    "wide tile": G(height=3, width=30, window=(5, 5)),
    "9x9": G(height=11, width=20, window=(9, 9)),
    "stride 2, odd": G(height=29, width=31, window=(7, 7), stride=(2, 2)),
    "stride 2, even": G(height=8, width=10, window=(3, 3), stride=(2, 2)),
    "5x5 stride 2": G(height=9, width=19, window=(5, 5), stride=(2, 2)),
    "9x9 stride 2": G(height=7, width=33, window=(9, 9), stride=(2, 2)),
    "stride beyond window": G(height=11, width=14, window=(2, 2), stride=(3, 4)),
    "stride beyond window, padding": G(height=8, width=8, window=(1, 1), stride=(2, 2), pad=(1, 1)),
    "stride far beyond window": G(height=23, width=9, window=(3, 1), stride=(5, 4)),
    "padding beyond window": G(height=5, width=7, window=(2, 3), pad=(3, 5)),
    "no padding": G(height=9, width=11, window=(3, 5), pad=(0, 0)),
    "dilation beyond image": G(height=5, width=4, window=(3, 3), dilation=(7, 9)),
    "dilation and stride with a common divisor": G(height=17, width=9, stride=(4, 2), dilation=(6, 3), pad=(5, 2)),
    "dilation": G(height=9, width=16, window=(3, 3), dilation=(2, 2)),
    "dilation and stride": G(height=10, width=21, window=(5, 3), stride=(2, 1), dilation=(1, 3)),
    "even window": G(height=6, width=9, window=(4, 2)),
    "row": G(height=4, width=18, window=(1, 7)),
    "column": G(height=9, width=3, window=(5, 1)),
    "11x11": G(height=5, width=25, window=(11, 11)),
    "one pixel": G(height=1, width=1, window=(7, 7)),
    "window larger than image": G(height=2, width=3, window=(7, 7)),
    "one group": G(groups=1, group_channels=48, height=5, width=9),
    "two registers a group": G(group_channels=32, height=5, width=9, window=(7, 7)),
    "4 channels a group": G(groups=3, group_channels=4, height=5, width=9, window=(7, 7)),
    "1 channel a group": G(groups=6, group_channels=1, height=5, width=9),
    "5 channels a group": G(groups=3, group_channels=5, height=7, width=8, stride=(2, 2)),
    "20 channels a group": G(groups=2, group_channels=20, height=4, width=8),
    "one image": G(batch=1, height=40, width=9, window=(7, 7)),
    "more images than threads": G(batch=5, height=4, width=4),
}


def empty_batch() -> Geometry:
    """A geometry of no images."""
    return replace(G(), batch=0)
