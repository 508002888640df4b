"""Each contraction's derivative is made of the other two, so derivatives of every order exist."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from involution.ops import schema, spanned  # noqa: F401  (schema defines the operators)

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


def _save_spanned(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    count = next(i for i, value in enumerate(inputs) if not isinstance(value, Tensor | None))
    ctx.save_for_backward(*(value for value in inputs[:count] if value is not None))
    ctx.present = [value is not None for value in inputs[:count]]
    ctx.numbers = inputs[count:]  # groups, window, stride, padding, dilation and, for the backward, output_mask


def _inputs(ctx: Any) -> list[Any]:
    """Return the tensors among the inputs, None for a bias that was not given."""
    saved = iter(ctx.saved_tensors)
    return [next(saved) if present else None for present in ctx.present]


def _backward_spanned(ctx: Any, grad: Tensor) -> Grads:
    inputs = _inputs(ctx)
    wanted = list(ctx.needs_input_grad[: len(inputs)])
    grads = _ops.involution2d_spanned_backward(grad, *inputs, *ctx.numbers, wanted)
    return (*(grad if w else None for grad, w in zip(grads, wanted, strict=True)), *[None] * len(ctx.numbers))


def _backward_spanned_backward(ctx: Any, *cotangents: Tensor) -> Grads:
    # Rarely wanted and long by hand: differentiate the two steps.
    with torch.enable_grad():
        inputs = _inputs(ctx)
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[: len(inputs)]) if needed]
        outputs = spanned.involution2d_spanned_backward(*inputs, *ctx.numbers)
        pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
        grads = torch.autograd.grad(
            [o for o, _ in pairs],
            [inputs[i] for i in wanted],
            [c for _, c in pairs],
            create_graph=True,
            allow_unused=True,
        )
    result: list[Tensor | None] = [None] * (len(inputs) + len(ctx.numbers))
    for i, grad in zip(wanted, grads, strict=True):
        result[i] = grad
    return tuple(result)


for _name, _backward in {
    "involution2d": _backward_y,
    "involution2d_grad_x": _backward_grad_x,
    "involution2d_grad_kernel": _backward_grad_kernel,
}.items():
    torch.library.register_autograd(f"involution::{_name}", _backward, setup_context=_save)
torch.library.register_autograd("involution::involution2d_spanned", _backward_spanned, setup_context=_save_spanned)
torch.library.register_autograd(
    "involution::involution2d_spanned_backward", _backward_spanned_backward, setup_context=_save_spanned
)
