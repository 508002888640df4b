"""Batch normalization in training, with the shortcut and the ReLU after it, as one operator: see docs/cpu.md.

    y = γ · (x − mean) / √(var + ε) + β        relu(y)        relu(y + shortcut)

Batch normalization reads the map for the statistics and for the output anyway; the steps after it cost no further pass
through memory, nor do their gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from involution.ops.fused.eager import channels_last, is_transformed
from involution.ops.schema import LIBRARY, operator

_op, _op_backward = operator("batch_norm"), operator("batch_norm_backward")


def composition(x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, eps: float, relu: bool) -> Tensor:
    """Return the output, from operators of PyTorch."""
    y = F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    y = y if shortcut is None else y + shortcut
    return y.relu() if relu else y


def _reference(
    x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    y = composition(x, shortcut, weight, bias, eps, relu)
    return channels_last(y), mean, var


def _gradients(
    grad: Tensor,
    x: Tensor,
    y: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, shortcut, weight and bias, from operators of PyTorch."""
    inverse = (var + eps).rsqrt()
    if relu:
        sign = composition(x, None, weight, bias, eps, False) if y is None else y
        grad = grad.masked_fill(sign <= 0, 0)
    statistics: Any = (None, None, mean, inverse)
    grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
        grad, x, weight, *statistics, True, eps, [True, True, True]
    )
    return grad_x, grad, grad_weight, grad_bias


def _reference_backward(grad: Tensor, x: Tensor, y: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_x, grad_shortcut, grad_weight, grad_bias = _gradients(grad, x, y, *rest)
    grad_shortcut = x.new_empty(0) if y is None else channels_last(grad_shortcut)
    return channels_last(grad_x), grad_shortcut, grad_weight, grad_bias


def _empty(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    channels = x.shape[1]
    y = torch.empty_like(x, memory_format=torch.channels_last)
    return y, x.new_empty(channels), x.new_empty(channels)


def _empty_backward(grad: Tensor, x: Tensor, y: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_x, grad_weight, grad_bias = _empty(x)
    shortcut = x.new_empty(0) if y is None else torch.empty_like(grad_x)
    return grad_x, shortcut, grad_weight, grad_bias


class _BatchNorm(torch.autograd.Function):
    """The operator with its gradient; derivatives of the gradient, and batches of it, are those of PyTorch."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, var = _op(x, shortcut, weight, bias, eps, relu)
        ctx.save_for_backward(x, weight, bias, None if shortcut is None else y, mean, var)  # y tells where ReLU is zero
        ctx.numbers = (eps, relu)
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        x, weight, bias, y, mean, var = ctx.saved_tensors
        needed = ctx.needs_input_grad[:4]
        if is_transformed(grad):
            grads = _gradients(grad, x, y, weight, bias, mean, var, *ctx.numbers)
        else:
            # Hooks for saved tensors may have changed the memory format of x and y.
            maps = (value if value is None else channels_last(value) for value in (grad, x, y))
            grads = _op_backward(*maps, weight, bias, mean, var, *ctx.numbers)
        return (*(value if wants else None for value, wants in zip(grads, needed, strict=True)), None, None)


def batch_norm(
    x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalized map, and mean and variance (biased) of the channels.

    Args:
        x: [B, C, H, W], channels last, float32.
        shortcut: as `x`; added before the ReLU. Without a ReLU there is none.
        weight, bias: γ and β, [C].
        eps: ε.
        relu: whether a ReLU follows.
    """
    result: tuple[Tensor, Tensor, Tensor] = _BatchNorm.apply(x, shortcut, weight, bias, eps, relu)
    return result


LIBRARY.impl("batch_norm", _reference, "CompositeExplicitAutograd")
LIBRARY.impl("batch_norm_backward", _reference_backward, "CompositeExplicitAutograd")
torch.library.register_fake("involution::batch_norm", _empty, lib=LIBRARY)
torch.library.register_fake("involution::batch_norm_backward", _empty_backward, lib=LIBRARY)
