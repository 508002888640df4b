"""1x1 convolution in training, as one matrix product in each direction: see docs/cpu.md.

y[b, n, h, w] = Σₖ weight[n, k, 0, 0] · x[b, k, h, w]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from involution.ops.fused.eager import channels_last, is_transformed
from involution.ops.schema import LIBRARY, operator

_op, _op_backward = operator("pointwise_conv"), operator("pointwise_conv_backward")

MULTIPLE = 16
"""Numbers of channels are multiples of this."""


def _reference(x: Tensor, weight: Tensor) -> Tensor:
    return channels_last(F.conv2d(x, weight))


def _strided(x: Tensor, stride: int) -> Tensor:
    return x if stride == 1 else channels_last(x[..., ::stride, ::stride])


def _strided_backward(grad: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """Return the gradient of `x`, of size [B, K, H, W], from that of the pixels that `stride` selects."""
    if stride == 1:
        return grad
    batch, channels, height, width = size
    rows = torch.ops.aten.slice_backward(grad, [batch, channels, grad.shape[2], width], 3, 0, width, stride)
    return torch.ops.aten.slice_backward(rows, [batch, channels, height, width], 2, 0, height, stride)


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, shortcut: Tensor | None, stride: int, mask: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    geometry: Any = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(grad, x, weight, None, *geometry, [*mask, False])
    if grad_x is not None and shortcut is not None:
        grad_x = grad_x + _strided_backward(shortcut, x.shape, stride)
    return grad_x, grad_weight


def _reference_backward(
    grad: Tensor, x: Tensor, weight: Tensor, shortcut: Tensor | None, stride: int, mask: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    grad_x, grad_weight = _gradients(grad, x, weight, shortcut, stride, mask)
    none = x.new_empty(0)
    return (
        none if grad_x is None else channels_last(grad_x),
        none if grad_weight is None else torch.empty_like(weight).copy_(grad_weight),
    )


def _empty(x: Tensor, weight: Tensor) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


def _empty_backward(
    grad: Tensor, x: Tensor, weight: Tensor, shortcut: Tensor | None, stride: int, mask: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    none = x.new_empty(0)
    grad_x = torch.empty_like(x, memory_format=torch.channels_last) if mask[0] else none
    return grad_x, torch.empty_like(weight) if mask[1] else none


class _PointwiseConv(torch.autograd.Function):
    """The operator with its gradient; derivatives of the gradient, and batches of it, are those of PyTorch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        ctx.set_materialize_grads(False)
        ctx.stride = stride
        return _op(x, weight), _strided(x, stride)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, shortcut: Tensor | None) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if grad is None:
            return None if shortcut is None else _strided_backward(shortcut, x.shape, ctx.stride), None, None
        if is_transformed(grad):
            return (*_gradients(grad, x, weight, shortcut, ctx.stride, needed), None)
        # Hooks for saved tensors may have changed the memory format of x.
        grad, x, shortcut = (value if value is None else channels_last(value) for value in (grad, x, shortcut))
        grads = _op_backward(grad, x, weight, shortcut, ctx.stride, needed)
        return (*(value if wants else None for value, wants in zip(grads, needed, strict=True)), None)


def pointwise_conv(x: Tensor, weight: Tensor, shortcut_stride: int = 1) -> tuple[Tensor, Tensor]:
    """Return the convolution of a map with 1x1 windows, and x[:, :, ::s, ::s] for other users.

    The gradients of both uses of `x` are added while the first is computed, without a further pass through memory, and
    without zeros where the stride s leaves pixels out.

    Args:
        x: [B, K, H, W], channels last, float32.
        weight: [N, K, 1, 1]; N and K are multiples of 16.
        shortcut_stride: s.
    """
    y, shortcut = _PointwiseConv.apply(x, weight, shortcut_stride)
    return y, shortcut if x.requires_grad else shortcut.detach()  # else it would ask for a gradient as `weight` does


LIBRARY.impl("pointwise_conv", _reference, "CompositeExplicitAutograd")
LIBRARY.impl("pointwise_conv_backward", _reference_backward, "CompositeExplicitAutograd")
torch.library.register_fake("involution::pointwise_conv", _empty, lib=LIBRARY)
torch.library.register_fake("involution::pointwise_conv_backward", _empty_backward, lib=LIBRARY)
