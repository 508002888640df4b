"""RedNet with depthwise convolutions of the same window sizes: a control for the effect of the generated kernels."""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import register_model
from torch import nn

from involution.models.skeleton import stems
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import plan
from involution.models.skeleton.trunk import DEPTHS, Trunk

MID_WIDTHS = (72, 144, 288, 576)
"""Channels of the mixers. Parameters (to 1.5 %) and multiply-adds (to 0.8 %) then equal RedNet's at every depth."""


def rednet_depthwise(
    depth: int, stem: str = "depthwise", device: Any = None, dtype: Any = None, **kwargs: Any
) -> Trunk:
    """Return a RedNet whose involutions are replaced by depthwise convolutions.

    Args:
        depth: 26, 38, 50, 101 or 152.
        stem: "depthwise", "conv" or "deep".
        device, dtype: of the weights.
        kwargs: passed to `Trunk`.
    """
    factory = {"device": device, "dtype": dtype}

    def mixer(channels: int, stride: int, dilation: int, kernel_size: int = 7) -> nn.Module:
        return depthwise(channels, kernel_size, stride, dilation, **factory)

    own = partial(stems.mixed, partial(mixer, kernel_size=3))
    kwargs = {"mid_widths": MID_WIDTHS, **kwargs}
    return Trunk(plan(depth, DEPTHS), mixer, stems.choose(stem, depthwise=own), **factory, **kwargs)


def depthwise(channels: int, kernel_size: int, stride: int, dilation: int, **factory: Any) -> nn.Conv2d:
    """Return a depthwise convolution that is padded to keep the size."""
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(channels, channels, kernel_size, stride, padding, dilation, channels, bias=False, **factory)


default_cfgs = configurations((f"rednet{depth}_depthwise" for depth in DEPTHS), first_conv="stem.0.conv")


@register_model
def rednet26_depthwise(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """RedNet-26 with depthwise convolutions."""
    return create(rednet_depthwise, "rednet26_depthwise", pretrained, depth=26, **kwargs)


@register_model
def rednet38_depthwise(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """RedNet-38 with depthwise convolutions."""
    return create(rednet_depthwise, "rednet38_depthwise", pretrained, depth=38, **kwargs)


@register_model
def rednet50_depthwise(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """RedNet-50 with depthwise convolutions."""
    return create(rednet_depthwise, "rednet50_depthwise", pretrained, depth=50, **kwargs)


@register_model
def rednet101_depthwise(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """RedNet-101 with depthwise convolutions."""
    return create(rednet_depthwise, "rednet101_depthwise", pretrained, depth=101, **kwargs)


@register_model
def rednet152_depthwise(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """RedNet-152 with depthwise convolutions."""
    return create(rednet_depthwise, "rednet152_depthwise", pretrained, depth=152, **kwargs)
