"""Check the arguments of an involution and turn them into what the operators take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

AXES = ("D", "H", "W")


def resolve(
    x: Tensor,
    kernel: Tensor,
    rank: int,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
) -> tuple[list[int], list[int], list[int]]:
    """Return stride, padding in front and dilation per axis for an involution over `rank` axes.

    The padding behind follows from the size of the output, which the kernel carries.

    Raises:
        ValueError: the arguments do not describe an involution; the message names the one at fault.
    """
    axes = AXES[3 - rank :]
    _check_tensors(x, kernel, rank, axes)
    window, out = list(kernel.shape[2 : 2 + rank]), list(kernel.shape[2 + rank :])
    strides = per_axis("stride", stride, rank, least=1)
    dilations = per_axis("dilation", dilation, rank, least=1)
    spans = [d * (k - 1) for d, k in zip(dilations, window, strict=True)]
    if isinstance(padding, str):
        if padding != "same":
            raise ValueError(f'padding: expected "same", an int or {rank} of them, got {padding!r}')
        front, total = [span // 2 for span in spans], spans
    else:
        front = per_axis("padding", padding, rank, least=0)
        total = [2 * p for p in front]
    for axis, size, span, pad, s, given in zip(axes, x.shape[2:], spans, total, strides, out, strict=True):
        expected = (size + pad - span - 1) // s + 1
        if expected < 1:
            raise ValueError(
                f"kernel: expected a window that fits into the padded input, got a window of {span + 1} pixels "
                f"along {axis} for {size + pad} of x with padding"
            )
        if given != expected:
            raise ValueError(
                f"kernel: expected {axis}o = {expected} for {axis} = {size}, window {span + 1}, stride {s} and "
                f"padding {padding!r}, got {given}"
            )
    return strides, front, dilations


def per_axis(name: str, value: int | Sequence[int], rank: int, least: int) -> list[int]:
    """Return `value` as one int per axis, each at least `least`."""
    values = [value] * rank if isinstance(value, int) else list(value)
    if len(values) != rank or not all(isinstance(v, int) and v >= least for v in values):
        count = {1: "one int", 2: "an int or a pair", 3: "an int or three of them"}[rank]
        raise ValueError(f"{name}: expected {count}, each at least {least}, got {value!r}")
    return values


def _check_tensors(x: Tensor, kernel: Tensor, rank: int, axes: Sequence[str]) -> None:
    sizes = ", ".join(axes)
    if x.dim() != 2 + rank:
        raise ValueError(f"x: expected [B, C, {sizes}], got shape {list(x.shape)}")
    if kernel.dim() != 2 + 2 * rank:
        layout = ", ".join([f"K{a.lower()}" for a in axes] + [f"{a}o" for a in axes])
        raise ValueError(f"kernel: expected [B, G, {layout}], got shape {list(kernel.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"x: expected a floating-point tensor, got {x.dtype}")
    if x.device != kernel.device:
        raise ValueError(f"kernel: expected the device of x, {x.device}, got {kernel.device}")
    cast = torch.is_autocast_enabled(x.device.type) and torch.float64 not in (x.dtype, kernel.dtype)
    if x.dtype != kernel.dtype and not cast:
        raise ValueError(f"kernel: expected the dtype of x, {x.dtype}, got {kernel.dtype}")
    batch, channels, groups = x.shape[0], x.shape[1], kernel.shape[1]
    if kernel.shape[0] != batch:
        raise ValueError(f"kernel: expected the batch size of x, {batch}, got {kernel.shape[0]}")
    if groups < 1 or channels % groups:
        raise ValueError(f"kernel: expected groups G that divide the {channels} channels of x, got G = {groups}")
