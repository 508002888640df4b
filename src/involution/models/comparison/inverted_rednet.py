"""RedNet with inverted bottlenecks, a control: depthwise convolutions where the network is widest.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.layers import DropPath, calculate_drop_path_rates
from timm.models import register_model
from torch import Tensor, nn

from involution.models.comparison.depthwise_rednet import depthwise
from involution.models.skeleton import stems
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import Stages, initialize, plan, scale_widths
from involution.models.skeleton.trunk import DEPTHS, STEM_WIDTH

EXPANSION = 4
BASE_WIDTHS = {26: 84, 38: 76, 50: 72, 101: 68, 152: 68}
"""Channels of the first stage for which parameters and multiply-adds come nearest to RedNet's."""


class InvertedBottleneck(nn.Module):
    """1x1 convolution to four times the channels – depthwise 7x7 – 1x1 convolution.

    There is a shortcut if input and output have the same shape.
    """

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
    """A network of inverted bottlenecks with RedNet's stem and number of blocks per stage.

    Args:
        depth: 26, 38, 50, 101 or 152.
        base_width: channels of the first stage in the full width; each further stage doubles them. None chooses the
            value for which the number of parameters comes nearest to RedNet's.
        width_factor: factor of all widths, see `scale_widths`.
        in_chans: channels of the image.
        drop_path_rate: stochastic depth of the last block, increasing linearly from 0 at the first.
        kwargs: passed to `Stages`.

    Raises:
        ValueError: `depth` or `width_factor` is not one of the above.
    """

    def __init__(
        self,
        depth: int = 50,
        base_width: int | None = None,
        width_factor: float = 1.0,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        depths = plan(depth, DEPTHS)
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        channels, width = scale_widths((STEM_WIDTH, base_width or plan(depth, BASE_WIDTHS)), width_factor)
        stem_width = channels
        stages: list[list[nn.Module]] = []
        for blocks in depths:
            layers: list[nn.Module] = []
            for index in range(blocks):
                stride = 2 if stages and not index else 1
                layers.append(InvertedBottleneck(channels, width, stride, next(rates), **factory))
                channels = width
            stages.append(layers)
            width *= 2
        # The convolution before the pooling is part of the last stage, so that its features end in an activation.
        stages[-1].append(stems.conv_norm_act(channels, EXPANSION * channels, 1, 1, nn.BatchNorm2d, nn.ReLU, **factory))
        super().__init__(
            stems.mixed(partial(_in_stem, **factory), in_chans, stem_width, 2, nn.BatchNorm2d, nn.ReLU, **factory),
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


default_cfgs = configurations((f"rednet{depth}_inverted" for depth in DEPTHS), first_conv="stem.0.conv")


@register_model
def rednet26_inverted(pretrained: bool = False, **kwargs: Any) -> InvertedRedNet:
    """RedNet-26 with inverted bottlenecks."""
    return create(InvertedRedNet, "rednet26_inverted", pretrained, depth=26, **kwargs)


@register_model
def rednet38_inverted(pretrained: bool = False, **kwargs: Any) -> InvertedRedNet:
    """RedNet-38 with inverted bottlenecks."""
    return create(InvertedRedNet, "rednet38_inverted", pretrained, depth=38, **kwargs)


@register_model
def rednet50_inverted(pretrained: bool = False, **kwargs: Any) -> InvertedRedNet:
    """RedNet-50 with inverted bottlenecks."""
    return create(InvertedRedNet, "rednet50_inverted", pretrained, depth=50, **kwargs)


@register_model
def rednet101_inverted(pretrained: bool = False, **kwargs: Any) -> InvertedRedNet:
    """RedNet-101 with inverted bottlenecks."""
    return create(InvertedRedNet, "rednet101_inverted", pretrained, depth=101, **kwargs)


@register_model
def rednet152_inverted(pretrained: bool = False, **kwargs: Any) -> InvertedRedNet:
    """RedNet-152 with inverted bottlenecks."""
    return create(InvertedRedNet, "rednet152_inverted", pretrained, depth=152, **kwargs)
