"""Shape and memory format of the outputs of each operator: the format of its first feature map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from involution.ops.axes import lead, pixels

Ints = Sequence[int]

ALL = (True, True, True, True)  # every output of `involution2d_spanned_backward` is requested


def is_channels_last(x: Tensor, channels: int = 1) -> bool:
    """Whether the channels are densest in memory; `channels` is their axis, the last one if there are two."""
    return x.stride(channels) == 1 and not x.is_contiguous()


def empty_like(like: Tensor, shape: Ints, pixel_axes: int = 2) -> Tensor:
    """Allocate [B, *channels, *pixels] in the memory format of the feature map `like`: channels last or not.

    `empty` in `cpu/arguments.h` is the same rule for the compiled operators.
    """
    shape = list(shape)
    if not is_channels_last(like, lead(like) - 1):
        return like.new_empty(shape)
    first = len(shape) - pixel_axes
    order = [0, *range(first, len(shape)), *range(1, first)]
    inverse = [order.index(i) for i in range(len(order))]
    return like.new_empty([shape[i] for i in order]).permute(inverse)


def empty_y(x: Tensor, kernel: Tensor, *_: Any) -> Tensor:
    """Allocate the output of `involution2d`."""
    return empty_like(x, [*x.shape[:-2], *kernel.shape[4:]], kernel.dim() - 4)


def empty_ska(x: Tensor, w: Tensor) -> Tensor:
    """Allocate the output of `ska`."""
    return empty_like(x, x.shape)


def empty_grad_x(grad: Tensor, kernel: Tensor, size: Ints, *_: Any) -> Tensor:
    """Allocate the output of `involution2d_grad_x`."""
    return empty_like(grad, [*grad.shape[: lead(grad)], *size], 2)


def empty_grad_kernel(grad: Tensor, x: Tensor, groups: int, window: Ints, *_: Any) -> Tensor:
    """Allocate the output of `involution2d_grad_kernel`."""
    return empty_like(grad, [grad.shape[0], groups, *window, *grad.shape[lead(grad) :]], pixels(grad))


def empty_spanned(x: Tensor, reduced: Tensor, *_: Any) -> Tensor:
    """Allocate the output of `involution2d_spanned`."""
    return empty_like(x, [x.shape[0], x.shape[1], reduced.shape[2], reduced.shape[3]])


def empty_spanned_backward(
    grad: Tensor,
    x: Tensor,
    reduced: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    output_mask: Sequence[bool] = ALL,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Allocate the outputs of `involution2d_spanned_backward`: no elements where `output_mask` is false."""
    for_x, for_reduced, for_weight, for_bias = output_mask
    return (
        empty_like(x, x.shape) if for_x else x.new_empty(0),
        empty_like(reduced, reduced.shape) if for_reduced else x.new_empty(0),
        weight.new_empty(weight.shape if for_weight else [0]),
        weight.new_empty(bias.shape if for_bias and bias is not None else [0]),
    )
