"""The decoder of UPerNet and its auxiliary head.

Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, section 3.1: pyramid pooling of the last
stage, a feature pyramid with norms, and a fusion of all levels. The UPerNet of segmentation-models-pytorch differs: its
bottleneck is a 1x1 convolution, and its pyramid has no 3x3 convolutions after the sums.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from involution.models.pyramid.fpn import local_layer
from involution.models.skeleton.stages import initialize
from involution.models.skeleton.stems import conv_norm_act

POOLED = (1, 2, 3, 6)
"""Sizes of the pooled maps; Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.2."""


class UPerHead(nn.Module):
    """Pyramid pooling of the last map, a top-down pyramid, the fusion of its levels, and a 1x1 classifier.

    Args:
        in_channels: of the maps of four stages, the finest first.
        channels: of all inner layers.
        num_classes: of the output.
        neck: layer of the three finer levels, "convolution" (3x3), as published, or "involution".
        dropout: probability that a channel of the fused map is zeroed in training.

    Shape:
        [B, in_channels(i), H(i), W(i)] per stage → [B, num_classes, H(0), W(0)].
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        neck: str = "convolution",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        *finer, last = in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), _block(last, channels, 1)) for side in POOLED
        )
        self.bottleneck = _block(last + len(POOLED) * channels, channels)
        self.lateral_convs = nn.ModuleList(_block(width, channels, 1) for width in finer)
        self.fpn_convs = nn.ModuleList(_level(channels, neck) for _ in finer)
        self.fpn_bottleneck = _block(len(in_channels) * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        initialize(self)
        nn.init.normal_(self.conv_seg.weight, std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *finer, last = maps
        pooled = [_resize(pool(last), last) for pool in self.psp_modules]
        y = self.bottleneck(torch.cat([last, *pooled], 1))
        levels = [y]
        for lateral, layer, x in zip(
            reversed(self.lateral_convs), reversed(self.fpn_convs), reversed(finer), strict=True
        ):
            x = lateral(x)
            y = x + _resize(y, x)
            levels.insert(0, layer(y))
        fused = self.fpn_bottleneck(torch.cat([levels[0], *(_resize(x, levels[0]) for x in levels[1:])], 1))
        return self.conv_seg(self.dropout(fused))


class AuxiliaryHead(nn.Module):
    """A 3x3 convolution with norm and ReLU, and a 1x1 classifier; used in training only.

    Shape:
        [B, in_channels, H, W] → [B, num_classes, H, W].
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.convs = nn.Sequential(_block(in_channels, channels))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        initialize(self)
        nn.init.normal_(self.conv_seg.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_seg(self.dropout(self.convs(x)))


def _block(in_channels: int, channels: int, kernel_size: int = 3) -> nn.Module:
    return conv_norm_act(in_channels, channels, kernel_size, 1, nn.BatchNorm2d, nn.ReLU)


def _level(channels: int, neck: str) -> nn.Module:
    """Return the published block, or the same block with another layer."""
    if neck == "convolution":
        return _block(channels, channels)
    layer = local_layer(neck, channels)
    return nn.Sequential(OrderedDict(layer=layer, bn=nn.BatchNorm2d(channels), act=nn.ReLU(inplace=True)))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
