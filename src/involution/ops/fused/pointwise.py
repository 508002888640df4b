"""1x1 convolution in training, as one matrix product in each direction: see docs/cpu.md.

y[b, n, h, w] = Σₖ weight[n, k, 0, 0] · x[b, k, h, w]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from involution.ops.schema import LIBRARY, operator

_op, _op_backward = operator("pointwise_conv"), operator("pointwise_conv_backward")

MULTIPLE = 16
"""Numbers of channels are multiples of this."""


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _reference(x: Tensor, weight: Tensor) -> Tensor:
    return _channels_last(F.conv2d(x, weight))


def _reference_backward(
    grad: Tensor, x: Tensor, weight: Tensor, shortcut: Tensor | None, mask: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    geometry: Any = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(grad, x, weight, None, *geometry, [*mask, False])
    if mask[0] and shortcut is not None:
        grad_x = grad_x + shortcut
    none = x.new_empty(0)
    return (
        _channels_last(grad_x) if mask[0] else none,
        torch.empty_like(weight).copy_(grad_weight) if mask[1] else none,
    )


def _empty(x: Tensor, weight: Tensor) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


def _empty_backward(
    grad: Tensor, x: Tensor, weight: Tensor, shortcut: Tensor | None, mask: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    none = x.new_empty(0)
    grad_x = torch.empty_like(x, memory_format=torch.channels_last) if mask[0] else none
    return grad_x, torch.empty_like(weight) if mask[1] else none


class _PointwiseConv(torch.autograd.Function):
    """The operator with its gradient; gradients of higher order are those of PyTorch's convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        ctx.set_materialize_grads(False)
        return _op(x, weight), x

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, shortcut: Tensor | None) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if grad is None:
            return shortcut, None
        if torch.is_grad_enabled():  # create_graph=True
            leaves = [value for value, wants in zip((x, weight), needed, strict=True) if wants]
            found = iter(torch.autograd.grad(F.conv2d(x, weight), leaves, grad, create_graph=True))
            grad_x, grad_weight = (next(found) if wants else None for wants in needed)
            return grad_x if shortcut is None or grad_x is None else grad_x + shortcut, grad_weight
        shortcut = None if shortcut is None else _channels_last(shortcut)
        grads = _op_backward(_channels_last(grad), x, weight, shortcut, needed)
        return tuple(value if wants else None for value, wants in zip(grads, needed, strict=True))


def pointwise_conv(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the convolution of a map with 1x1 windows, and the map for other users.

    The gradients of both uses of `x` are added while the first is computed, without a further pass through memory.

    Args:
        x: [B, K, H, W], channels last, float32.
        weight: [N, K, 1, 1]; N and K are multiples of 16.
    """
    result: tuple[Tensor, Tensor] = _PointwiseConv.apply(x, weight)
    return result


LIBRARY.impl("pointwise_conv", _reference, "CompositeExplicitAutograd")
LIBRARY.impl("pointwise_conv_backward", _reference_backward, "CompositeExplicitAutograd")
torch.library.register_fake("involution::pointwise_conv", _empty, lib=LIBRARY)
torch.library.register_fake("involution::pointwise_conv_backward", _empty_backward, lib=LIBRARY)
