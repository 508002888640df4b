"""The inverted-bottleneck twin of RedNet: depthwise convolutions where the network is widest, as in MobileNetV2."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from involution.models.comparison.comparators import depthwise
from involution.models.skeleton import stems
from involution.models.skeleton.registration import register
from involution.models.skeleton.stages import Stages, initialize, plan
from involution.models.skeleton.trunk import DEPTHS, STEM_WIDTH

EXPANSION = 4
BASE_WIDTHS = {26: 84, 38: 76, 50: 72, 101: 68, 152: 68}
"""Channels of the first stage with which parameters and multiply-adds are nearest to RedNet's."""


class InvertedBottleneck(nn.Module):
    """1x1 convolution to four times the channels – depthwise 7x7 – 1x1 convolution; a shortcut where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, drop_path: float, **factory: Any) -> None:
        super().__init__()
        wide = EXPANSION * in_channels
        self.residual = stride == 1 and in_channels == out_channels
        self.conv1 = nn.Conv2d(in_channels, wide, 1, bias=False, **factory)
        self.bn1 = nn.BatchNorm2d(wide, **factory)
        self.conv2 = depthwise(wide, 7, stride, 1, **factory)
        self.bn2 = nn.BatchNorm2d(wide, **factory)
        self.conv3 = nn.Conv2d(wide, out_channels, 1, bias=False, **factory)
        self.bn3 = nn.BatchNorm2d(out_channels, **factory)
        self.act = nn.ReLU(inplace=True)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return x + self.drop_path(y) if self.residual else y


class InvertedRedNet(Stages):
    """RedNet's blocks per stage and stem, of inverted bottlenecks with depthwise convolutions.

    Args:
        depth: 26, 38, 50, 101 or 152.
        base_width: channels of the first stage, doubled by every other; None for parameters near RedNet's.
        in_chans: channels of the image.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.
        kwargs: of `Stages`.

    Raises:
        ValueError: `depth` is none of these.
    """

    def __init__(
        self,
        depth: int = 50,
        base_width: int | None = None,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        depths = plan(depth, DEPTHS)
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        channels, width = STEM_WIDTH, base_width or plan(depth, BASE_WIDTHS)
        stages: list[list[nn.Module]] = []
        for blocks in depths:
            layers: list[nn.Module] = []
            for index in range(blocks):
                stride = 2 if stages and not index else 1
                layers.append(InvertedBottleneck(channels, width, stride, next(rates), **factory))
                channels = width
            stages.append(layers)
            width *= 2
        # The convolution in front of the pooling belongs to the last stage, so that features end in an activation.
        stages[-1].append(stems.conv_norm_act(channels, EXPANSION * channels, 1, 1, nn.BatchNorm2d, nn.ReLU, **factory))
        super().__init__(
            stems.mixed(partial(_in_stem, **factory), in_chans, 2, nn.BatchNorm2d, nn.ReLU, **factory),
            [nn.Sequential(*layers) for layers in stages],
            [channels // 8, channels // 4, channels // 2, EXPANSION * channels],
            stem_pool=True,
            in_chans=in_chans,
            **factory,
            **kwargs,
        )
        initialize(self)


def _in_stem(channels: int, stride: int, dilation: int, **factory: Any) -> nn.Module:
    return depthwise(channels, 3, stride, dilation, **factory)


for _depth in DEPTHS:
    register(__name__, f"rednet{_depth}_inverted", InvertedRedNet, "stem.0.conv", depth=_depth)
