"""Attention-augmented ResNet: RedNet's skeleton, its mixer a convolution beside attention over the whole map."""

from __future__ import annotations

from typing import Any

from torch import nn

from involution.layers.attention.augmented import AugmentedConv2d
from involution.models.skeleton import stems
from involution.models.skeleton.registration import register
from involution.models.skeleton.stages import plan
from involution.models.skeleton.trunk import DEPTHS, MID_WIDTHS, Trunk


def aa_resnet(
    depth: int, stem: str = "conv", img_size: int = 224, device: Any = None, dtype: Any = None, **kwargs: Any
) -> Trunk:
    """ResNet with attention-augmented convolutions in its last three stages (Bello et al., ICCV 2019).

    The first of these three attends on a map of half its size.

    Args:
        depth: of RedNet's plan; the paper has 50, 101 and 152.
        stem: "conv" or "deep".
        img_size: of the images in training, in pixels, for which the tables of relative positions are made.
        device, dtype: of the weights.
        kwargs: of `Trunk`.
    """
    factory = {"device": device, "dtype": dtype}
    plain, pooled = MID_WIDTHS[:2]
    sizes = {width: -(-img_size // reduction) for width, reduction in zip(MID_WIDTHS, (4, 16, 16, 32), strict=True)}

    def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
        if channels == plain:
            return nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False, **factory)
        return AugmentedConv2d(channels, stride, dilation, sizes[channels], pooled=channels == pooled, **factory)

    return Trunk(plan(depth, DEPTHS), mixer, stems.choose(stem), **factory, **kwargs)


for _depth in (50, 101, 152):
    register(__name__, f"aa_resnet{_depth}", aa_resnet, "stem.conv", depth=_depth)
