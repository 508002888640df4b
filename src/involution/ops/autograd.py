"""Each operator's derivative is made of the other two, so derivatives of every order exist."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from involution.ops import schema  # noqa: F401  (defines the operators)

_ops = torch.ops.involution
Grads = tuple[Tensor | None, ...]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, second, *rest = inputs
    ctx.save_for_backward(first, second)
    ctx.geometry = rest[-3:]  # stride, padding, dilation
    ctx.arguments = len(inputs)


def _pack(ctx: Any, first: Tensor | None, second: Tensor | None) -> Grads:
    return (first, second, *[None] * (ctx.arguments - 2))


def _backward_y(ctx: Any, grad: Tensor) -> Grads:
    x, kernel = ctx.saved_tensors
    for_x, for_kernel, *_ = ctx.needs_input_grad
    groups, window = kernel.shape[1], kernel.shape[2:4]
    return _pack(
        ctx,
        _ops.involution2d_grad_x(grad, kernel, x.shape[2:], *ctx.geometry) if for_x else None,
        _ops.involution2d_grad_kernel(grad, x, groups, window, *ctx.geometry) if for_kernel else None,
    )


def _backward_grad_x(ctx: Any, cotangent: Tensor) -> Grads:
    grad, kernel = ctx.saved_tensors
    for_grad, for_kernel, *_ = ctx.needs_input_grad
    groups, window = kernel.shape[1], kernel.shape[2:4]
    return _pack(
        ctx,
        _ops.involution2d(cotangent, kernel, *ctx.geometry) if for_grad else None,
        _ops.involution2d_grad_kernel(grad, cotangent, groups, window, *ctx.geometry) if for_kernel else None,
    )


def _backward_grad_kernel(ctx: Any, cotangent: Tensor) -> Grads:
    grad, x = ctx.saved_tensors
    for_grad, for_x, *_ = ctx.needs_input_grad
    return _pack(
        ctx,
        _ops.involution2d(x, cotangent, *ctx.geometry) if for_grad else None,
        _ops.involution2d_grad_x(grad, cotangent, x.shape[2:], *ctx.geometry) if for_x else None,
    )


for _name, _backward in {
    "involution2d": _backward_y,
    "involution2d_grad_x": _backward_grad_x,
    "involution2d_grad_kernel": _backward_grad_kernel,
}.items():
    torch.library.register_autograd(f"involution::{_name}", _backward, setup_context=_save)
