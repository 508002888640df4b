"""The spanned involution as two steps: kernels from the reduced features, then the operator.

What every device without a fused implementation runs, and what the fused ones are differentiated through.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Ints = Sequence[int]


def span(reduced: Tensor, weight: Tensor, bias: Tensor | None, groups: int, window: Ints) -> Tensor:
    """Return the kernels, weight · reduced + bias, [B, G, Kh, Kw, Ho, Wo].

    Args:
        reduced: [B, R, Ho, Wo].
        weight: [G·Kh·Kw, R].
        bias: [G·Kh·Kw] or None.
        groups, window: G and (Kh, Kw).
    """
    return torch.conv2d(reduced, weight[:, :, None, None], bias).unflatten(1, [groups, *window])


def involution2d_spanned(
    x: Tensor,
    reduced: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> Tensor:
    """Return `involution2d` of `x` with the kernels that `span` gives."""
    kernel = span(reduced, weight, bias, groups, window)
    return torch.ops.involution.involution2d(x, kernel, stride, padding, dilation)


def involution2d_spanned_backward(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `x`, `reduced`, `weight` and `bias` (empty without one)."""
    ops = torch.ops.involution
    kernel = span(reduced, weight, bias, groups, window)
    grad_x = ops.involution2d_grad_x(grad, kernel, x.shape[2:], stride, padding, dilation)
    grad_kernel = ops.involution2d_grad_kernel(grad, x, groups, window, stride, padding, dilation)
    grad_span = grad_kernel.flatten(1, 3)  # [B, G·Kh·Kw, Ho, Wo]
    grad_reduced = torch.einsum("bthw,tr->brhw", grad_span, weight)
    grad_weight = torch.einsum("bthw,brhw->tr", grad_span, reduced)
    grad_bias = weight.new_empty(0) if bias is None else grad_span.sum((0, 2, 3))
    return grad_x, grad_reduced, grad_weight, grad_bias
