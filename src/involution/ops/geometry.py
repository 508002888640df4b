"""Check the arguments of an involution and convert them for the operators."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

AXES = ("D", "H", "W")

Size = int | Sequence[int]
Padding = int | Sequence[int | tuple[int, int]] | Literal["same"]


def resolve(
    carrier: str,
    size: Sequence[int],
    window: Sequence[int],
    out: Sequence[int],
    stride: Size,
    padding: Padding,
    dilation: Size,
    scale: Sequence[int] | None = None,
) -> tuple[list[int], list[int], list[int]]:
    """Return stride, padding in front and dilation per axis; the padding at the end follows from the output size.

    Args:
        carrier: name of the argument that has the size of the output.
        size, window, out: of the input, the kernel and the output, per axis.
        stride, padding, dilation: as given.
        scale: output pixels per window and axis, as `scales` returns it.

    Raises:
        ValueError: the arguments do not describe an involution; the message names the invalid one.
    """
    rank = len(size)
    strides = per_axis("stride", stride, rank, least=1)
    dilations = per_axis("dilation", dilation, rank, least=1)
    sides = per_side(padding, window, dilations)
    geometry = strides, [front for front, _ in sides], dilations
    if sizes_are_symbols():
        return geometry
    for axis, n, k, d, s, (front, behind), repeats, given in zip(
        AXES[3 - rank :], size, window, dilations, strides, sides, scale or [1] * rank, out, strict=True
    ):
        reach = d * (k - 1) + 1
        expected = (n + front + behind - reach) // s + 1
        if expected < 1:
            raise ValueError(
                f"{carrier}: expected a window that fits into the padded input, got a window of {reach} pixels "
                f"along {axis} for {n + front + behind} of x with padding"
            )
        if given != expected * repeats:
            scaled = f", scale {repeats}" if scale else ""
            raise ValueError(
                f"{carrier}: expected {axis}o = {expected * repeats} for {axis} = {n}, window {reach}, stride {s}"
                f"{scaled} and padding {padding!r}, got {given}"
            )
    return geometry


def scales(scale: Size, rank: int) -> list[int] | None:
    """Return the output pixels per window and axis, or None if there is one."""
    values = per_axis("scale", scale, rank, least=1)
    return None if values == [1] * rank else values


def sizes_are_symbols() -> bool:
    """Whether a comparison of sizes would add a condition to an exported graph, or cause a tracer warning."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def same_padding(window: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """Return the padding "same", d·(K−1) zeros in all per axis, as (front, behind): the smaller half is in front."""
    spans = [d * (k - 1) for d, k in zip(dilation, window, strict=True)]
    return [(span // 2, span - span // 2) for span in spans]


def per_side(padding: Padding, window: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """Return the padding as (front, behind) per axis."""
    if isinstance(padding, str) and padding == "same":
        return same_padding(window, dilation)
    rank = len(window)
    values: list[Any] = list(padding) if isinstance(padding, list | tuple) else [padding] * rank
    sides = [(value, value) if isinstance(value, int) else value for value in values]
    if len(sides) != rank or not all(_is_side(side) for side in sides):
        raise ValueError(
            f'padding: expected "same", an int or, per axis ({rank}), an int or (front, behind), each at least 0, '
            f"got {padding!r}"
        )
    return [(front, behind) for front, behind in sides]


def _is_side(side: Any) -> bool:
    if not isinstance(side, Sequence) or len(side) != 2:
        return False
    front, behind = side
    return isinstance(front, int) and isinstance(behind, int) and front >= 0 and behind >= 0


def per_axis(name: str, value: Size, rank: int, least: int) -> list[int]:
    """Return `value` as one int per axis, each at least `least`."""
    if type(value) is int and value >= least:  # the usual case, in a fraction of the time of the general one
        return [value] * rank
    values = list(value) if isinstance(value, Sequence) else [value] * rank
    if len(values) != rank or not all(isinstance(v, int) and v >= least for v in values):
        count = {1: "one int", 2: "an int or a pair", 3: "an int or three of them"}[rank]
        raise ValueError(f"{name}: expected {count}, each at least {least}, got {value!r}")
    return values


def check_divisor(name: str, divisor: int, channels: int) -> None:
    """Raise if `divisor` does not divide the channels."""
    if not sizes_are_symbols() and (divisor < 1 or channels % divisor):
        raise ValueError(f"{name}: expected a divisor of the {channels} channels, got {divisor}")


def check_groups(name: str, groups: int, channels: int) -> None:
    """Raise if the groups that the argument `name` implies do not divide the channels of x."""
    if not sizes_are_symbols() and (groups < 1 or channels % groups):
        raise ValueError(f"{name}: expected groups G that divide the {channels} channels of x, got G = {groups}")


def check_map(name: str, x: Tensor, rank: int) -> None:
    """Raise if `x` is not a floating-point feature map with the given number of axes."""
    if x.dim() != 2 + rank:
        raise ValueError(f"{name}: expected [B, C, {', '.join(AXES[3 - rank :])}], got shape {list(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"{name}: expected a floating-point tensor, got {x.dtype}")


def check_alike(name: str, value: Tensor, of: str, x: Tensor, batch: bool = True) -> None:
    """Raise if device, dtype or batch size of `value` are not those of `x`, the argument called `of`."""
    if x.device != value.device:
        raise ValueError(f"{name}: expected the device of {of}, {x.device}, got {value.device}")
    if x.dtype != value.dtype and (
        # Autocast casts as for a convolution: everything but float64.
        not torch.is_autocast_enabled(x.device.type) or torch.float64 in (x.dtype, value.dtype)
    ):
        raise ValueError(f"{name}: expected the dtype of {of}, {x.dtype}, got {value.dtype}")
    if batch and not sizes_are_symbols() and value.shape[0] != x.shape[0]:
        raise ValueError(f"{name}: expected the batch size of {of}, {x.shape[0]}, got {value.shape[0]}")


def check_span(weight: Tensor, bias: Tensor | None, window: Sequence[int], features: int) -> None:
    """Raise if weight and bias do not have the shapes [G·taps, features] and [G·taps]."""
    if sizes_are_symbols():
        return
    if weight.dim() != 2 or weight.shape[1] != features or weight.shape[0] % prod(window):
        taps = "·".join(map(str, window))
        raise ValueError(f"weight: expected shape [G·{taps}, {features}], got {list(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias: expected shape [{weight.shape[0]}], got {list(bias.shape)}")
