"""Check the arguments of an involution and convert them for the operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import prod
from operator import index
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor

AXES = ("D", "H", "W")

Size = int | Sequence[int]
Padding = int | Sequence[int | tuple[int, int]] | Literal["same"]
Geometry = tuple[list[int], list[int], list[int]]

F = TypeVar("F", bound=Callable[..., Any])
MOST = 4096  # calls that are remembered


def remembered(plan: F) -> F:
    """Check a kind of call once, because the checks take longer than some involutions.

    A call with the arguments of an earlier one, and with tensors of the same sizes, dtypes and devices, returns the
    plan made then. Where sizes are symbols, or are recorded in a graph, every call makes one.
    """
    known: dict[Any, Any] = {}

    @wraps(plan)
    def wrapper(tensors: Sequence[Tensor | None], *arguments: Any) -> Any:
        key = found = None
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            try:
                kinds = [(t.shape, t.dtype, t.device) if t is not None else None for t in tensors]
                key = *kinds, repr(arguments)  # as text, because 2 and 2.0 differ
                found = known.get(key)
            except (AttributeError, TypeError):  # not a tensor, or a symbol
                key = None
        if found is None:
            found = plan(tensors, *arguments)
            if key and len({kind[1:] for kind in kinds if kind}) == 1:  # whether dtypes may differ depends on autocast
                if len(known) >= MOST:
                    known.clear()
                known[key] = found
        return found

    return cast(F, wrapper)


@remembered
def plan_involution(
    tensors: tuple[Tensor, Tensor], rank: int, stride: Size, padding: Padding, dilation: Size, scale: Size
) -> tuple[Geometry, list[int] | None]:
    """Return the geometry and the scale for x and kernel."""
    x, kernel = tensors
    check_map("x", x, rank)
    check_alike("kernel", kernel, "x", x)
    if kernel.dim() != 2 + 2 * rank:
        axes = AXES[3 - rank :]
        layout = ", ".join([f"K{a.lower()}" for a in axes] + [f"{a}o" for a in axes])
        raise ValueError(f"kernel: expected [B, G, {layout}], got shape {list(kernel.shape)}")
    check_batch("kernel", kernel, "x", x)
    check_groups("kernel", kernel.shape[1], x.shape[1])
    repeats = scales(scale, rank)
    window, out = kernel.shape[2 : 2 + rank], kernel.shape[2 + rank :]
    return resolve("kernel", x.shape[2:], window, out, stride, padding, dilation, repeats), repeats


@remembered
def plan_spanned(
    tensors: tuple[Tensor, Tensor, Tensor, Tensor | None],
    kernel_size: Size,
    stride: Size,
    padding: Padding,
    dilation: Size,
) -> tuple[int, list[int], Geometry]:
    """Return groups, window and geometry for x, reduced, weight and bias."""
    x, reduced, weight, bias = tensors
    rank = check_rank("x", x)
    check_map("reduced", reduced, rank)
    check_alike("reduced", reduced, "x", x)
    check_batch("reduced", reduced, "x", x)
    window = per_axis("kernel_size", kernel_size, rank, least=1)
    check_alike("weight", weight, "x", x)
    if bias is not None:
        check_alike("bias", bias, "x", x)
    check_span(weight, bias, window, reduced.shape[1])
    groups = weight.shape[0] // prod(window)
    check_groups("weight", groups, x.shape[1])
    return groups, window, resolve("reduced", x.shape[2:], window, reduced.shape[2:], stride, padding, dilation)


@remembered
def plan_products(
    tensors: tuple[Tensor, Tensor],
    groups: int,
    kernel_size: Size,
    stride: Size,
    padding: Padding,
    dilation: Size,
    scale: Size,
) -> tuple[list[int], Geometry, list[int] | None]:
    """Return window, geometry and scale for query and key."""
    query, key = tensors
    rank = check_rank("key", key)
    check_map("query", query, rank)
    check_alike("query", query, "key", key)
    check_batch("query", query, "key", key)
    if not sizes_are_symbols() and query.shape[1] != key.shape[1]:
        raise ValueError(f"query: expected the {key.shape[1]} channels of key, got {query.shape[1]}")
    check_divisor("groups", groups, key.shape[1])
    window, repeats = per_axis("kernel_size", kernel_size, rank, least=1), scales(scale, rank)
    geometry = resolve("query", key.shape[2:], window, query.shape[2:], stride, padding, dilation, repeats)
    return window, geometry, repeats


def resolve(
    carrier: str,
    size: Sequence[int],
    window: Sequence[int],
    out: Sequence[int],
    stride: Size,
    padding: Padding,
    dilation: Size,
    scale: Sequence[int] | None = None,
) -> Geometry:
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
    sides = [_integers(value if isinstance(value, Sequence) else (value, value), least=0) for value in values]
    if len(sides) != rank or not all(len(side) == 2 for side in sides):
        raise ValueError(
            f'padding: expected "same", an int or, per axis ({rank}), an int or (front, behind), each at least 0, '
            f"got {padding!r}"
        )
    return [(front, behind) for front, behind in sides]


def per_axis(name: str, value: Size, rank: int, least: int) -> list[int]:
    """Return `value` as one int per axis, each at least `least`."""
    values = _integers(value if isinstance(value, Sequence) else [value] * rank, least)
    if len(values) != rank:
        count = {1: "one int", 2: "an int or a pair", 3: "an int or three of them"}[rank]
        raise ValueError(f"{name}: expected {count}, each at least {least}, got {value!r}")
    return values


def _integers(values: Sequence[Any], least: int) -> list[int]:
    """Return `values` as ints, those of NumPy too, or nothing if one of them is none or is less than `least`."""
    try:
        numbers = [index(value) for value in values]
    except TypeError:
        return []
    return numbers if all(number >= least for number in numbers) else []


def check_divisor(name: str, divisor: int, channels: int) -> None:
    """Raise if `divisor` does not divide the channels."""
    if not sizes_are_symbols() and (divisor < 1 or channels % divisor):
        raise ValueError(f"{name}: expected a divisor of the {channels} channels, got {divisor}")


def check_groups(name: str, groups: int, channels: int) -> None:
    """Raise if the groups that the argument `name` implies do not divide the channels of x."""
    if not sizes_are_symbols() and (groups < 1 or channels % groups):
        raise ValueError(f"{name}: expected groups G that divide the {channels} channels of x, got G = {groups}")


def check_tensor(name: str, x: Tensor) -> None:
    """Raise if `x` is not a floating-point tensor."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{name}: expected a Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise ValueError(f"{name}: expected a floating-point tensor, got {x.dtype}")


def check_map(name: str, x: Tensor, rank: int) -> None:
    """Raise if `x` is not a floating-point feature map with the given number of axes."""
    check_tensor(name, x)
    if x.dim() != 2 + rank:
        raise ValueError(f"{name}: expected [B, C, {', '.join(AXES[3 - rank :])}], got shape {list(x.shape)}")


def check_rank(name: str, x: Tensor) -> int:
    """Return the number of axes of a feature map, one to three; raise if `x` is not one."""
    check_tensor(name, x)
    rank = x.dim() - 2 if 3 <= x.dim() <= 5 else 2
    check_map(name, x, rank)
    return rank


def check_alike(name: str, value: Tensor, of: str, x: Tensor) -> None:
    """Raise if `value` is not a tensor with the device and the dtype of `x`, the argument called `of`."""
    check_tensor(name, value)
    if x.device != value.device:
        raise ValueError(f"{name}: expected the device of {of}, {x.device}, got {value.device}")
    if x.dtype != value.dtype and (
        # Autocast casts as for a convolution: everything but float64.
        not torch.is_autocast_enabled(x.device.type) or torch.float64 in (x.dtype, value.dtype)
    ):
        raise ValueError(f"{name}: expected the dtype of {of}, {x.dtype}, got {value.dtype}")


def check_batch(name: str, value: Tensor, of: str, x: Tensor) -> None:
    """Raise if the batch size of `value` is not that of `x`, the argument called `of`."""
    if not sizes_are_symbols() and value.shape[0] != x.shape[0]:
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
