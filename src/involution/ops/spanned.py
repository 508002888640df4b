"""The spanned involution as two steps: kernels from the reduced features, then the operator.

Devices without a fused implementation run these steps, and the backward operator is differentiated through them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from involution.ops.layout import ALL

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
    output_mask: Sequence[bool] = ALL,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `x`, `reduced`, `weight` and `bias`.

    A gradient has shape [0] where `output_mask` is false, and that of `bias` also where there is no bias.
    """
    ops = torch.ops.involution
    for_x, for_reduced, for_weight, for_bias = output_mask
    grad_x, grad_reduced, grad_weight, grad_bias = (x.new_empty(0) for _ in range(4))
    if for_x:
        kernel = span(reduced, weight, bias, groups, window)
        grad_x = ops.involution2d_grad_x(grad, kernel, x.shape[2:], stride, padding, dilation)
    if any(output_mask[1:]):
        grad_kernel = ops.involution2d_grad_kernel(grad, x, groups, window, stride, padding, dilation)
        grad_span = grad_kernel.flatten(1, 3)  # [B, G·Kh·Kw, Ho, Wo]
        if for_reduced:
            grad_reduced = torch.einsum("bthw,tr->brhw", grad_span, weight)
        if for_weight:
            grad_weight = torch.einsum("bthw,brhw->tr", grad_span, reduced)
        if for_bias and bias is not None:
            grad_bias = grad_span.sum((0, 2, 3))
    return grad_x, grad_reduced, grad_weight, grad_bias
