"""Axial-ResNet: bottlenecks with attention along the column and then along the row.

Wang et al., "Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation", ECCV 2020, section 3.2. These are
the fully axial networks, whose stem is a stage like the others.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import DropPath, calculate_drop_path_rates
from timm.models import register_model, register_notrace_module
from torch import Tensor, nn

from involution.layers.attention.axial import AxialAttention2d
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import Stages, initialize

DEPTHS = (3, 3, 4, 6, 3)
WIDTHS = (32, 64, 128, 256, 512)
"""Of the five stages for a multiplier of 1. A block attends with twice and outputs four times as many channels."""

SPAN = 7
"""Farthest offset of the attention, in pixels, on axes of more than 15 pixels."""

register_notrace_module(AxialAttention2d)  # the border depends on the size of the map


class AxialBlock(nn.Module):
    """1x1 convolution – column – row – 1x1 convolution around a shortcut; the last norm starts with weight 0."""

    def __init__(self, in_channels: int, width: int, size: int, stride: int, drop_path: float, **factory: Any) -> None:
        super().__init__()
        mid, out_channels = 2 * width, 4 * width
        self.conv1 = nn.Conv2d(in_channels, mid, 1, bias=False, **factory)
        self.bn1 = nn.BatchNorm2d(mid, **factory)
        self.height = AxialAttention2d(mid, vertical=True, span=_span(size), stride=stride, **factory)
        self.width = AxialAttention2d(mid, vertical=False, span=_span(size), stride=stride, **factory)
        self.conv2 = nn.Conv2d(mid, out_channels, 1, bias=False, **factory)
        self.bn2 = nn.BatchNorm2d(out_channels, **factory)
        self.act = nn.ReLU(inplace=True)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False, **factory)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out_channels, **factory))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.width(self.height(y)))
        return self.act(self.downsample(x) + self.drop_path(self.bn2(self.conv2(y))))


class AxialResNet(Stages):
    """ResNet-50 with axial attention in place of all spatial convolutions.

    Attention reaches 7 pixels to both sides, or the whole axis if that has at most 15 pixels. The tables of relative
    positions have exactly the rows that can be reached; the authors' tables have more rows, which are never read.

    Args:
        multiplier: of all widths; 0.5, 0.75 and 1 are S, M and L.
        img_size: of the training images, in pixels; it decides which stages attend over the whole axis.
        in_chans: channels of the image.
        drop_path_rate: stochastic depth of the last block, increasing linearly from 0 at the first.
        kwargs: passed to `Stages`.

    Raises:
        ValueError: a width is not divisible by the number of heads.
    """

    def __init__(
        self,
        multiplier: float = 0.5,
        img_size: int = 224,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(DEPTHS)))
        widths = [int(multiplier * width) for width in WIDTHS]
        channels, size = in_chans, img_size
        stages: list[nn.Sequential] = []
        for blocks, width in zip(DEPTHS, widths, strict=True):
            layers = []
            for index in range(blocks):
                layers.append(AxialBlock(channels, width, size, 1 if index else 2, next(rates), **factory))
                channels, size = 4 * width, size if index else -(-size // 2)
            stages.append(nn.Sequential(*layers))
        outputs = [4 * width for width in widths[1:]]
        super().__init__(stages[0], stages[1:], outputs, in_chans=in_chans, **factory, **kwargs)
        initialize(self)
        for module in self.modules():
            if isinstance(module, AxialBlock):
                nn.init.zeros_(module.bn2.weight)


def _span(size: int) -> int:
    return size - 1 if size <= 2 * SPAN + 1 else SPAN


default_cfgs = configurations((f"axial_resnet_{size}" for size in "sml"), first_conv="stem.0.conv1")


@register_model
def axial_resnet_s(pretrained: bool = False, **kwargs: Any) -> AxialResNet:
    """Axial-ResNet-S."""
    return create(AxialResNet, "axial_resnet_s", pretrained, multiplier=0.5, **kwargs)


@register_model
def axial_resnet_m(pretrained: bool = False, **kwargs: Any) -> AxialResNet:
    """Axial-ResNet-M."""
    return create(AxialResNet, "axial_resnet_m", pretrained, multiplier=0.75, **kwargs)


@register_model
def axial_resnet_l(pretrained: bool = False, **kwargs: Any) -> AxialResNet:
    """Axial-ResNet-L."""
    return create(AxialResNet, "axial_resnet_l", pretrained, multiplier=1.0, **kwargs)
