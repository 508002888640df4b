"""The gradients of the spanned involution; see `involution.ops.spanned`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from involution.ops import spanned
from involution.ops.cuda import launch
from involution.ops.cuda.grad_span import fill_grad_span
from involution.ops.cuda.grad_x import fill_grad_x
from involution.ops.cuda.launch import Ints
from involution.ops.layout import ALL, empty_spanned_backward


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
) -> tuple[Tensor, ...]:
    """Return the gradients of `x`, `reduced`, `weight` and `bias` in `output_mask`; kernels are recomputed."""
    geometry = (window, stride, padding, dilation)
    grads = empty_spanned_backward(grad, x, reduced, weight, bias, groups, *geometry, output_mask)
    if launch.two_steps(x):
        values = spanned.involution2d_spanned_backward(grad, x, reduced, weight, bias, groups, *geometry, output_mask)
        return tuple(g.copy_(value) for g, value in zip(grads, values, strict=True))
    if grad.numel() == 0:
        return tuple(g.zero_() for g in grads)
    grad_x, grad_reduced, grad_weight, grad_bias = grads
    if output_mask[0]:
        fill_grad_x(grad_x, grad, reduced, weight, bias, groups, *geometry)
    if any(output_mask[1:]):
        fill_grad_span(grad_reduced, grad_weight, grad_bias, grad, x, reduced, weight, groups, *geometry)
    return grads
