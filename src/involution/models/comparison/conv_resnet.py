"""ResNet on RedNet's skeleton: the baseline of the paper.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride in the 3x3 convolution.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from torch import nn

from involution.models.skeleton import stems
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import plan
from involution.models.skeleton.trunk import DEPTHS, Trunk


def resnet(depth: int, stem: str = "conv", device: Any = None, dtype: Any = None, **kwargs: Any) -> Trunk:
    """Return a ResNet with RedNet's number of blocks per stage; timm's own ResNet-26 has other numbers.

    Args:
        depth: 26, 38, 50, 101 or 152.
        stem: "conv" or "deep".
        device, dtype: of the weights.
        kwargs: passed to `Trunk`.
    """
    factory = {"device": device, "dtype": dtype}

    def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
        return nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False, **factory)

    return Trunk(plan(depth, DEPTHS), mixer, stems.choose(stem), **factory, **kwargs)


default_cfgs = configurations((f"resnet{depth}_conv" for depth in DEPTHS), first_conv="stem.conv")


@register_model
def resnet26_conv(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """ResNet-26."""
    return create(resnet, "resnet26_conv", pretrained, depth=26, **kwargs)


@register_model
def resnet38_conv(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """ResNet-38."""
    return create(resnet, "resnet38_conv", pretrained, depth=38, **kwargs)


@register_model
def resnet50_conv(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """ResNet-50."""
    return create(resnet, "resnet50_conv", pretrained, depth=50, **kwargs)


@register_model
def resnet101_conv(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """ResNet-101."""
    return create(resnet, "resnet101_conv", pretrained, depth=101, **kwargs)


@register_model
def resnet152_conv(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """ResNet-152."""
    return create(resnet, "resnet152_conv", pretrained, depth=152, **kwargs)
