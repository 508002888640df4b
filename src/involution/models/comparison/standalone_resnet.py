"""ResNet with self-attention in local windows instead of its 3x3 convolutions.

Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model, register_notrace_module
from torch import nn

from involution.layers.attention.block import BlockAttention2d
from involution.layers.attention.standalone import StandAlone2d
from involution.models.skeleton import stems
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import plan
from involution.models.skeleton.trunk import DEPTHS, Layer, Trunk

for _attention in (StandAlone2d, BlockAttention2d):
    register_notrace_module(_attention)  # masks of the border depend on the size of the map


def resnet_standalone(
    depth: int, stem: str = "standalone", device: Any = None, dtype: Any = None, **kwargs: Any
) -> Trunk:
    """Return a ResNet with self-attention in windows of 7x7 pixels.

    Args:
        depth: 26, 38 or 50 in the paper; 101 and 152 exist too.
        stem: "standalone", attention in blocks of 4x4 pixels, as in Table 1 of the involution paper; "conv", which is
            more accurate in the paper on stand-alone self-attention; or "deep".
        device, dtype: of the weights.
        kwargs: passed to `Trunk`.
    """
    factory = {"device": device, "dtype": dtype}

    def mixer(channels: int, stride: int, dilation: int) -> nn.Module:
        return StandAlone2d(channels, 7, stride, dilation, **factory)

    kwargs = {"stem_pool": stem != "standalone", **kwargs}
    return Trunk(plan(depth, DEPTHS), mixer, stems.choose(stem, standalone=_block_stem), **factory, **kwargs)


def _block_stem(
    in_chans: int, width: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any
) -> nn.Module:
    """Return attention in blocks, a norm and a max pooling by the whole stride of the stem; it has no activation."""
    attention = BlockAttention2d(in_chans, width, **factory)
    return nn.Sequential(attention, norm_layer(width, **factory), nn.MaxPool2d(stride, ceil_mode=True))


default_cfgs = configurations((f"resnet{depth}_standalone" for depth in (26, 38, 50)), first_conv="stem.0.value")


@register_model
def resnet26_standalone(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """ResNet-26 with stand-alone self-attention."""
    return create(resnet_standalone, "resnet26_standalone", pretrained, depth=26, **kwargs)


@register_model
def resnet38_standalone(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """ResNet-38 with stand-alone self-attention."""
    return create(resnet_standalone, "resnet38_standalone", pretrained, depth=38, **kwargs)


@register_model
def resnet50_standalone(pretrained: bool = False, **kwargs: Any) -> Trunk:
    """ResNet-50 with stand-alone self-attention."""
    return create(resnet_standalone, "resnet50_standalone", pretrained, depth=50, **kwargs)
