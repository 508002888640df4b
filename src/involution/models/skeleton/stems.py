"""Stems: from the image to the first stage. The max pooling after them is part of `Stages`.

Most have 64 channels in the full width.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from involution.layers.norm import NormActSequential
from involution.models.skeleton.trunk import Layer, Mixer, Stem


def choose(name: str, **own: Stem) -> Stem:
    """Return the stem called `name`: "conv", "deep" or one of the network's own.

    Raises:
        ValueError: there is no stem of that name.
    """
    stems: dict[str, Stem] = {**own, "conv": plain, "deep": deep}
    if name not in stems:
        raise ValueError(f"stem: expected one of {sorted(stems)}, got {name!r}")
    return stems[name]


def plain(in_chans: int, width: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any) -> nn.Module:
    """Return ResNet's stem: one 7x7 convolution (He et al., 2016)."""
    return conv_norm_act(in_chans, width, 7, stride, norm_layer, act_layer, **factory)


def deep(in_chans: int, width: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any) -> nn.Module:
    """Return three 3x3 convolutions, two of half the width: the stem of the ResNets in the paper's segmentors."""
    half = width // 2
    return NormActSequential(
        conv_norm_act(in_chans, half, 3, stride, norm_layer, act_layer, **factory),
        conv_norm_act(half, half, 3, 1, norm_layer, act_layer, **factory),
        conv_norm_act(half, width, 3, 1, norm_layer, act_layer, **factory),
    )


def mixed(
    mixer: Mixer, in_chans: int, width: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any
) -> nn.Sequential:
    """Return RedNet's stem: `deep` with a mixer as second layer. Indices are those of the released state dict."""
    half = width // 2
    return NormActSequential(
        conv_norm_act(in_chans, half, 3, stride, norm_layer, act_layer, **factory),
        mixer(half, 1, 1),
        norm_layer(half, **factory),
        act_layer(inplace=True),
        conv_norm_act(half, width, 3, 1, norm_layer, act_layer, **factory),
    )


def strided(
    mixer: Mixer, in_chans: int, width: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any
) -> nn.Sequential:
    """Return LR-Net's stem: a 1x1 convolution, which widens the three channels of the image, and a strided mixer."""
    return NormActSequential(
        conv_norm_act(in_chans, width, 1, 1, norm_layer, act_layer, **factory),
        mixer(width, stride, 1),
        norm_layer(width, **factory),
        act_layer(inplace=True),
    )


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int,
    norm_layer: Layer,
    act_layer: Layer,
    **factory: Any,
) -> nn.Sequential:
    """Return a convolution without bias, a norm and an activation, named as in the released state dicts."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False, **factory)
    return NormActSequential(
        OrderedDict(conv=conv, bn=norm_layer(out_channels, **factory), act=act_layer(inplace=True))
    )
