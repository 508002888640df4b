"""The shapes of the involutions of RedNet-50 for images of 224 x 224 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WINDOW, GROUP_CHANNELS, REDUCTION = 7, 16, 4
FORMATS = {"channels last": torch.channels_last, "NCHW": torch.contiguous_format}


@dataclass(frozen=True)
class Stage:
    """One stage of RedNet-50: channels and side of the feature map of its involutions."""

    number: int
    channels: int
    side: int
    window: int = WINDOW

    @property
    def groups(self) -> int:
        """Groups of channels that share a kernel."""
        return self.channels // GROUP_CHANNELS

    @property
    def reduced(self) -> int:
        """Channels of the features that the kernels are generated from."""
        return self.channels // REDUCTION

    @property
    def taps(self) -> int:
        """Values of the kernels at one pixel."""
        return self.groups * self.window**2

    @property
    def geometry(self) -> tuple[list[int], list[int], list[int]]:
        """Stride, padding and dilation."""
        return [1, 1], [self.window // 2] * 2, [1, 1]


STAGES = (Stage(1, 64, 56), Stage(2, 128, 28), Stage(3, 256, 14), Stage(4, 512, 7))
TINY = Stage(4, 32, 3, window=3)
"""Of dry runs."""


def images(
    batch: int, channels: int, side: int, memory_format: torch.memory_format = torch.channels_last, **where: Any
) -> Tensor:
    """Return random images."""
    return torch.randn(batch, channels, side, side, **where).contiguous(memory_format=memory_format)


def operands(
    stage: Stage, batch: int, memory_format: torch.memory_format = torch.channels_last, **where: Any
) -> dict[str, Any]:
    """Return the arguments of the operators in one block of RedNet; `where` contains their dtype and device."""

    def new(channels: int) -> Tensor:
        return images(batch, channels, stage.side, memory_format, **where)

    return {
        "x": new(stage.channels),
        "grad": new(stage.channels),
        "reduced": new(stage.reduced),
        "kernel": new(stage.taps).unflatten(1, (stage.groups, stage.window, stage.window)),
        "weight": torch.randn(stage.taps, stage.reduced, **where),
        "bias": torch.randn(stage.taps, **where),
        "groups": stage.groups,
        "window": [stage.window] * 2,
        "geometry": stage.geometry,
    }
