"""RedNet's skeleton with other mixers: the networks of the paper's Table 1 that differ in it alone, and a control.

What a mixer computes stands in `layers/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from involution.layers.attention.block import BlockAttention2d
from involution.layers.attention.local_relation import LocalRelation2d
from involution.layers.attention.standalone import StandAlone2d
from involution.models.skeleton import stems
from involution.models.skeleton.registration import register
from involution.models.skeleton.stages import plan
from involution.models.skeleton.trunk import DEPTHS, STEM_WIDTH, Layer, Trunk

STANDALONE_DEPTHS = (26, 38, 50)
LOCAL_RELATION_WIDTHS = {26: (104, 200, 400, 808), 50: (104, 200, 400, 800), 101: (104, 208, 416, 816)}
"""Of the mixers; Hu et al. widen them until parameters equal ResNet's. Fitted to Table 1 in multiples of 8."""

LOCAL_RELATION_DEPTHS = {**DEPTHS, 26: (2, 2, 2, 2)}
DEPTHWISE_WIDTHS = (72, 144, 288, 576)
"""With these parameters (to 1.5 %) and multiply-adds (to 0.8 %) equal RedNet's at every depth."""


def resnet(depth: int, stem: str = "conv", device: Any = None, dtype: Any = None, **kwargs: Any) -> Trunk:
    """ResNet with its stride in the 3x3 convolution (He et al., CVPR 2016).

    Args:
        depth: 26, 38, 50, 101 or 152, in RedNet's plan: timm's own ResNet-26 has other blocks per stage.
        stem: "conv" or "deep".
        device, dtype: of the weights.
        kwargs: of `Trunk`.
    """
    factory = {"device": device, "dtype": dtype}

    def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
        return nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False, **factory)

    return Trunk(plan(depth, DEPTHS), mixer, stems.choose(stem), **factory, **kwargs)


def rednet_depthwise(
    depth: int, stem: str = "depthwise", device: Any = None, dtype: Any = None, **kwargs: Any
) -> Trunk:
    """RedNet with depthwise convolutions of the same windows: the control for "is it the dynamic kernel".

    Mixers of 72·2^i channels instead of 64·2^i make up for the generated kernels. Arguments as for `resnet`.
    """
    factory = {"device": device, "dtype": dtype}

    def mixer(channels: int, stride: int, dilation: int, kernel_size: int = 7) -> nn.Module:
        return depthwise(channels, kernel_size, stride, dilation, **factory)

    own = partial(stems.mixed, partial(mixer, kernel_size=3))
    kwargs = {"mid_widths": DEPTHWISE_WIDTHS, **kwargs}
    return Trunk(plan(depth, DEPTHS), mixer, stems.choose(stem, depthwise=own), **factory, **kwargs)


def resnet_standalone(
    depth: int, stem: str = "standalone", device: Any = None, dtype: Any = None, **kwargs: Any
) -> Trunk:
    """ResNet with self-attention for its 3x3 convolutions (Ramachandran et al., NeurIPS 2019).

    Args:
        depth: of RedNet's plan; the paper has 26, 38 and 50.
        stem: "standalone", attention in blocks of 4x4 pixels, as in Table 1; "conv", with which the paper is better.
        device, dtype: of the weights.
        kwargs: of `Trunk`.
    """
    factory = {"device": device, "dtype": dtype}

    def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
        return StandAlone2d(channels, 7, stride, dilation, **factory)

    kwargs = {"stem_pool": stem != "standalone", **kwargs}
    return Trunk(plan(depth, DEPTHS), mixer, stems.choose(stem, standalone=_in_blocks), **factory, **kwargs)


def lrnet(
    depth: int,
    stem: str = "local_relation",
    similarity: str = "product",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    mid_widths: Sequence[int] | None = None,
    **kwargs: Any,
) -> Trunk:
    """ResNet with local relation layers for its 3x3 convolutions (Hu et al., ICCV 2019).

    Args:
        depth: 26, 50 or 101. Depth 26 has two blocks in every stage.
        stem: "local_relation", "conv" or "deep".
        similarity: of `LocalRelation2d`.
        device, dtype: of the weights.
        mid_widths, kwargs: of `Trunk`.
    """
    factory: dict[str, Any] = {"device": device, "dtype": dtype}

    def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
        return LocalRelation2d(channels, 7, stride, dilation, similarity=similarity, **factory)

    stem_maker = stems.choose(stem, local_relation=partial(stems.strided, mixer))
    widths = mid_widths or plan(depth, LOCAL_RELATION_WIDTHS)
    return Trunk(LOCAL_RELATION_DEPTHS[depth], mixer, stem_maker, mid_widths=widths, **factory, **kwargs)


def _in_blocks(in_chans: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any) -> nn.Module:
    """Return the stem of stand-alone attention, which pools all of its stride at its end and has no activation."""
    attention = BlockAttention2d(in_chans, STEM_WIDTH, **factory)
    return nn.Sequential(attention, norm_layer(STEM_WIDTH, **factory), nn.MaxPool2d(stride, ceil_mode=True))


def depthwise(channels: int, kernel_size: int, stride: int, dilation: int, **factory: Any) -> nn.Conv2d:
    """Return a convolution of every channel by itself, padded to keep the size."""
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(channels, channels, kernel_size, stride, padding, dilation, channels, bias=False, **factory)


for _depth in DEPTHS:
    register(__name__, f"resnet{_depth}_conv", resnet, "stem.conv", depth=_depth)
    register(__name__, f"rednet{_depth}_depthwise", rednet_depthwise, "stem.0.conv", depth=_depth)
for _depth in STANDALONE_DEPTHS:
    register(__name__, f"resnet{_depth}_standalone", resnet_standalone, "stem.0.value", depth=_depth)
for _depth in LOCAL_RELATION_WIDTHS:
    register(__name__, f"lrnet{_depth}", lrnet, "stem.0.conv", depth=_depth)
