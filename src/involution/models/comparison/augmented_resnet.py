"""ResNet whose 3x3 convolutions are augmented with attention over the whole map.

Bello et al., "Attention Augmented Convolutional Networks", ICCV 2019.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model, register_notrace_module
from torch import nn

from involution.layers.attention.augmented import AugmentedConv2d
from involution.models.skeleton import stems
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import plan, scale_widths
from involution.models.skeleton.trunk import DEPTHS, MID_WIDTHS, Trunk

register_notrace_module(AugmentedConv2d)  # its tables of relative positions are indexed by the size of the map


def aa_resnet(
    depth: int,
    stem: str = "conv",
    img_size: int = 224,
    width_factor: float = 1.0,
    device: Any = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Trunk:
    """Return a ResNet with attention-augmented convolutions in its last three stages.

    The first of these three stages attends on a map of half its size.

    Args:
        depth: 50, 101 or 152 in the paper; 26 and 38 exist too.
        stem: "conv" or "deep".
        img_size: of the training images, in pixels; it sets the size of the tables of relative positions.
        width_factor: see `Trunk`.
        device, dtype: of the weights.
        kwargs: passed to `Trunk`.
    """
    factory = {"device": device, "dtype": dtype}
    widths = scale_widths(MID_WIDTHS, width_factor)
    plain, pooled = widths[:2]
    sizes = {width: -(-img_size // reduction) for width, reduction in zip(widths, (4, 16, 16, 32), strict=True)}

    def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
        if channels == plain:
            return nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False, **factory)
        return AugmentedConv2d(channels, stride, dilation, sizes[channels], pooled=channels == pooled, **factory)

    stem_layers = stems.choose(stem)
    return Trunk(plan(depth, DEPTHS), mixer, stem_layers, width_factor=width_factor, **factory, **kwargs)


default_cfgs = configurations((f"aa_resnet{depth}" for depth in (50, 101, 152)), first_conv="stem.conv")


@register_model
def aa_resnet50(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """Attention-augmented ResNet-50."""
    return create(aa_resnet, "aa_resnet50", pretrained, depth=50, **kwargs)


@register_model
def aa_resnet101(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """Attention-augmented ResNet-101."""
    return create(aa_resnet, "aa_resnet101", pretrained, depth=101, **kwargs)


@register_model
def aa_resnet152(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """Attention-augmented ResNet-152."""
    return create(aa_resnet, "aa_resnet152", pretrained, depth=152, **kwargs)
