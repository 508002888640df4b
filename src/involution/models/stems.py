"""Stems: image in, channels for the first stage out. The max pooling behind them belongs to the network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from involution.models.trunk import Layer, Mixer

CHANNELS = 64
"""Channels that every stem gives; half of them inside the stems of three layers."""


def build(
    name: str,
    native: str,
    mixer: Mixer,
    in_chans: int,
    stride: int,
    norm_layer: Layer,
    act_layer: Layer,
    **factory: Any,
) -> nn.Module:
    """Build a stem that, with the max pooling behind it if `stride` is 4, reduces the image by `stride`.

    Args:
        name: "conv", "deep", or `native` for the stem with `mixer` in its middle.
        native: what the network calls that one.
        mixer, in_chans, norm_layer, act_layer, factory: of the layers inside.
        stride: 4, 2 or 1.

    Raises:
        ValueError: `name` or `stride` is none of these.
    """
    if stride not in (1, 2, 4):
        raise ValueError(f"stem_stride: expected 1, 2 or 4, got {stride}")
    makers: dict[str, Callable[..., nn.Module]] = {native: partial(mixed, mixer), "conv": plain, "deep": deep}
    if name not in makers:
        raise ValueError(f"stem: expected one of {sorted(makers)}, got {name!r}")
    return makers[name](in_chans, min(stride, 2), norm_layer, act_layer, **factory)


def mixed(mixer: Mixer, in_chans: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any) -> nn.Module:
    """RedNet's: 3x3 convolution of stride 2, mixer on 32 channels, 3x3 convolution.

    `stride` 1 leaves the image its size. Child 1 is the mixer, as in the released code.
    """
    half = CHANNELS // 2
    return nn.Sequential(
        conv_norm_act(in_chans, half, 3, stride, norm_layer, act_layer, **factory),
        mixer(half, 1, 1),
        norm_layer(half, **factory),
        act_layer(inplace=True),
        conv_norm_act(half, CHANNELS, 3, 1, norm_layer, act_layer, **factory),
    )


def plain(in_chans: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any) -> nn.Module:
    """ResNet's: one 7x7 convolution (He et al. 2016)."""
    return conv_norm_act(in_chans, CHANNELS, 7, stride, norm_layer, act_layer, **factory)


def deep(in_chans: int, stride: int, norm_layer: Layer, act_layer: Layer, **factory: Any) -> nn.Module:
    """Three 3x3 convolutions of 32, 32 and 64 channels, as in the ResNets of the paper's segmentors."""
    half = CHANNELS // 2
    return nn.Sequential(
        conv_norm_act(in_chans, half, 3, stride, norm_layer, act_layer, **factory),
        conv_norm_act(half, half, 3, 1, norm_layer, act_layer, **factory),
        conv_norm_act(half, CHANNELS, 3, 1, norm_layer, act_layer, **factory),
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
    """Return a convolution without bias, a norm and an activation under the names of the released code."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False, **factory)
    return nn.Sequential(OrderedDict(conv=conv, bn=norm_layer(out_channels, **factory), act=act_layer(inplace=True)))
