"""LR-Net: ResNet with local relation layers instead of its 3x3 convolutions.

Hu et al., "Local Relation Networks for Image Recognition", ICCV 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import gcd
from typing import Any

import torch
from timm.models import register_model, register_notrace_module
from torch import nn

from involution.layers.attention.local_relation import LocalRelation2d
from involution.models.skeleton import stems
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import plan
from involution.models.skeleton.trunk import DEPTHS as RESNET_DEPTHS
from involution.models.skeleton.trunk import Trunk

register_notrace_module(LocalRelation2d)  # masks of the border depend on the size of the map

DEPTHS = {**RESNET_DEPTHS, 26: (2, 2, 2, 2)}
MID_WIDTHS = {26: (104, 200, 400, 808), 50: (104, 200, 400, 800), 101: (104, 208, 416, 816)}
"""Channels of the mixers. The authors widen them until the number of parameters equals ResNet's and do not list them;
these are the multiples of 8 that come nearest to Table 1."""


def local_relation_net(
    depth: int,
    stem: str = "local_relation",
    similarity: str = "product",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    mid_widths: Sequence[int] | None = None,
    **kwargs: Any,
) -> Trunk:
    """Return an LR-Net.

    Args:
        depth: 26, 50 or 101. Depth 26 has two blocks in every stage.
        stem: "local_relation", "conv" or "deep".
        similarity: of query and key, see `LocalRelation2d`.
        device, dtype: of the weights.
        mid_widths: channels of the mixers in the four stages, in the full width.
        kwargs: passed to `Trunk`.
    """
    factory: dict[str, Any] = {"device": device, "dtype": dtype}

    def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
        shared = gcd(8, channels)  # 8, except for some numbers of channels of narrower networks
        return LocalRelation2d(channels, 7, stride, dilation, shared, similarity, **factory)

    make_stem = stems.choose(stem, local_relation=partial(stems.strided, mixer))
    widths = mid_widths or plan(depth, MID_WIDTHS)
    return Trunk(DEPTHS[depth], mixer, make_stem, mid_widths=widths, **factory, **kwargs)


default_cfgs = configurations((f"lrnet{depth}" for depth in MID_WIDTHS), first_conv="stem.0.conv")


@register_model
def lrnet26(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """LR-Net-26."""
    return create(local_relation_net, "lrnet26", pretrained, depth=26, **kwargs)


@register_model
def lrnet50(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """LR-Net-50."""
    return create(local_relation_net, "lrnet50", pretrained, depth=50, **kwargs)


@register_model
def lrnet101(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """LR-Net-101."""
    return create(local_relation_net, "lrnet101", pretrained, depth=101, **kwargs)
