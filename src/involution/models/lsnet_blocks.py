"""Blocks of LSNet: the large-small convolution, self-attention, and the layers around them.

Wang et al., "LSNet: See Large, Focus Small", CVPR 2025. Parameters have the names of the authors' code,
github.com/THU-MIG/lsnet, whose layers of a convolution and a norm are those of timm's RepViT.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from timm.layers import SqueezeExcite
from timm.models.repvit import ConvNorm, RepVggDw
from torch import Tensor, fx, nn
from torch.nn import functional as F

from involution.family import ska

fx.wrap("ska")  # it checks the shape of the kernels
fx.wrap("bias_of_distances")  # it depends on the size of the map


class LKP(nn.Module):
    """Large-kernel perception: predict the 3x3 kernels of a pixel from the 7x7 window around it.

        w = GN(W₄ ReLU(W₃ D₇ₓ₇ ReLU(W₁ x)))

    D is a depthwise convolution on half of the channels; W₁, D and W₃ have batch norms. GN normalizes the nine values
    of a group over the whole image.
    """

    def __init__(self, channels: int, group_channels: int = 8, **factory: Any) -> None:
        super().__init__()
        half, self.groups, self.window = channels // 2, channels // group_channels, 9
        self.cv1 = ConvNorm(channels, half, **factory)
        self.act = nn.ReLU()
        self.cv2 = ConvNorm(half, half, 7, pad=3, groups=half, **factory)
        self.cv3 = ConvNorm(half, half, **factory)
        self.cv4 = nn.Conv2d(half, self.window * self.groups, 1, **factory)
        self.norm = nn.GroupNorm(self.groups, self.window * self.groups, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.cv3(self.cv2(self.act(self.cv1(x)))))
        return self.norm(self.cv4(x)).unflatten(1, (self.groups, self.window))


class LSConv(nn.Module):
    """Large-small convolution: x + BN(ska(x, LKP(x))), [B, C, H, W] → [B, C, H, W]; see `involution.family.ska`."""

    def __init__(self, channels: int, **factory: Any) -> None:
        super().__init__()
        self.lkp = LKP(channels, **factory)
        self.bn = nn.BatchNorm2d(channels, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(ska(x, self.lkp(x))) + x


class Attention(nn.Module):
    """Self-attention over the map, whose logits have a learned bias for each distance (|Δy|, |Δx|).

    The table of biases has a value for every distance on a map of `size`² pixels, 4 for images of 224 pixels. On other
    maps it is resized, as the authors do with the weights of a classifier for their detectors.
    """

    attention_bias_idxs: Tensor

    def __init__(self, channels: int, key_channels: int = 16, heads: int = 4, size: int = 4, **factory: Any) -> None:
        super().__init__()
        keys = heads * key_channels
        self.heads, self.sections = heads, [keys, keys, channels]
        self.qkv = ConvNorm(channels, 2 * keys + channels, **factory)
        self.proj = nn.Sequential(nn.ReLU(), ConvNorm(channels, channels, bn_weight_init=0, **factory))
        self.dw = ConvNorm(keys, keys, 3, pad=1, groups=keys, **factory)
        self.attention_biases = nn.Parameter(torch.zeros(heads, size**2, **factory))
        self.register_buffer("attention_bias_idxs", distances(size, size, factory.get("device")))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).split(self.sections, 1)
        q, k, v = [t.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3) for t in (self.dw(q), k, v)]
        bias = bias_of_distances(self.attention_biases, self.attention_bias_idxs, x.shape[2], x.shape[3])
        y = F.scaled_dot_product_attention(q, k, v, bias)
        return self.proj(y.transpose(2, 3).reshape(x.shape))


def distances(height: int, width: int, device: Any = None) -> Tensor:
    """Return |Δy| · W + |Δx| of every pair of pixels, [H·W, H·W]."""
    pixels = torch.arange(height * width, device=device)
    rows, columns = pixels // width, pixels % width
    return (rows[:, None] - rows).abs() * width + (columns[:, None] - columns).abs()


def bias_of_distances(table: Tensor, index: Tensor, height: int, width: int) -> Tensor:
    """Return the bias of every pair of pixels, [heads, H·W, H·W].

    Args:
        table: [heads, S·S], for a map of S x S pixels.
        index: distances on that map.
        height, width: of the map.
    """
    size = isqrt(table.shape[1])
    if (height, width) != (size, size):
        image = table.view(1, -1, size, size)
        table = F.interpolate(image, (height, width), mode="bicubic", align_corners=False)[0].flatten(1)
        index = distances(height, width, table.device)
    return table[:, index]


class Residual(nn.Module):
    """x + m(x)."""

    def __init__(self, m: nn.Module) -> None:
        super().__init__()
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        return x + self.m(x)


class FFN(nn.Sequential):
    """Two 1x1 convolutions, through twice the channels."""

    def __init__(self, channels: int, **factory: Any) -> None:
        super().__init__()
        self.pw1 = ConvNorm(channels, 2 * channels, **factory)
        self.act = nn.ReLU()
        self.pw2 = ConvNorm(2 * channels, channels, bn_weight_init=0, **factory)


class Block(nn.Module):
    """A mixer and a feed-forward network.

    The mixer of every other block is a 3x3 depthwise convolution with squeeze and excitation. That of the others is
    the large-small convolution, in the last stage self-attention.
    """

    def __init__(self, channels: int, index: int, attends: bool, **factory: Any) -> None:
        super().__init__()
        depthwise = index % 2 == 0
        if depthwise:
            self.mixer: nn.Module = RepVggDw(channels, 3, legacy=True, **factory)
        else:
            self.mixer = Residual(Attention(channels, **factory)) if attends else LSConv(channels, **factory)
        self.se = SqueezeExcite(channels, 0.25, **factory) if depthwise else nn.Identity()
        self.ffn = Residual(FFN(channels, **factory))

    def forward(self, x: Tensor) -> Tensor:
        return self.ffn(self.se(self.mixer(x)))
