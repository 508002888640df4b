"""Derivatives of the operators: those of a contraction are the other two contractions, so every order exists.

Reverse and forward mode are in one function per operator, called by a kernel of our own at PyTorch's Autograd key.
`torch.library.register_autograd` has no forward mode (tangents are dropped silently) and fails under `torch.func`; an
`autograd.Function` with `jvp` under the public functions breaks the graph of `torch.compile`. A kernel at the key
serves eager and compiled calls, `torch.func` and `forward_ad` alike. Every transform of `torch.func` runs the kernel at
a level of its own, hence `_SingleLevelFunction`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from involution.ops import axes, schema, softmax, spanned

_ops = torch.ops.involution
_transformed = torch._C._are_functorch_transforms_active
Tensors = Sequence[Tensor | None]
Numbers = Sequence[Any]  # the arguments after the tensors: sizes, stride, padding, dilation
Backward = Callable[[Sequence[bool], Any, Any, Numbers], Tensors]
Tangent = Callable[[Callable[..., Tensor], Any, Tensors, Numbers], Tensor]


def _backward_y(needed: Sequence[bool], grad: Tensor, inputs: Sequence[Tensor], numbers: Numbers) -> Tensors:
    x, kernel = inputs
    return (
        _ops.involution2d_grad_x(grad, kernel, x.shape[-2:], *numbers) if needed[0] else None,
        _ops.involution2d_grad_kernel(grad, x, kernel.shape[1], kernel.shape[2:4], *numbers) if needed[1] else None,
    )


def _backward_grad_x(needed: Sequence[bool], cotangent: Tensor, inputs: Sequence[Tensor], numbers: Numbers) -> Tensors:
    (grad, kernel), (_, *geometry) = inputs, numbers
    groups, window = kernel.shape[1], kernel.shape[2:4]
    return (
        _ops.involution2d(cotangent, kernel, *geometry) if needed[0] else None,
        _ops.involution2d_grad_kernel(grad, cotangent, groups, window, *geometry) if needed[1] else None,
    )


def _backward_grad_kernel(
    needed: Sequence[bool], cotangent: Tensor, inputs: Sequence[Tensor], numbers: Numbers
) -> Tensors:
    (grad, x), (_, _, *geometry) = inputs, numbers
    return (
        _ops.involution2d(x, cotangent, *geometry) if needed[0] else None,
        _ops.involution2d_grad_x(grad, cotangent, x.shape[-2:], *geometry) if needed[1] else None,
    )


def _tangent(op: Callable[..., Tensor], inputs: Sequence[Tensor], tangents: Tensors, numbers: Numbers) -> Tensor:
    """Return op(a', b) + op(a, b')."""
    (a, b), (da, db) = inputs, tangents
    terms = [op(*pair, *numbers) for pair in ((da, b), (a, db)) if None not in pair]
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _backward_softmax(needed: Sequence[bool], grad: Tensor, inputs: Sequence[Tensor], numbers: Numbers) -> Tensors:
    x, scores = inputs
    kernel = softmax.kernels(scores)
    grad_x, grad_kernel = _backward_y(needed, grad, (x, kernel), numbers)
    return grad_x, None if grad_kernel is None else softmax.derivative(kernel, grad_kernel)


def _tangent_softmax(_: Callable[..., Tensor], inputs: Sequence[Any], tangents: Tensors, numbers: Numbers) -> Tensor:
    (x, scores), (dx, dscores) = inputs, tangents
    kernel = softmax.kernels(scores)
    dkernel = None if dscores is None else softmax.derivative(kernel, dscores)
    return _tangent(_ops.involution2d, (x, kernel), (dx, dkernel), numbers)


def _backward_spanned(needed: Sequence[bool], grad: Tensor, inputs: Tensors, numbers: Numbers) -> Tensors:
    wanted = list(needed[: len(inputs)])
    grads = _ops.involution2d_spanned_backward(grad, *inputs, *numbers, wanted)
    return [grad if w else None for grad, w in zip(grads, wanted, strict=True)]


def _tangent_spanned(op: Callable[..., Tensor], inputs: Sequence[Any], tangents: Tensors, numbers: Numbers) -> Tensor:
    """Return S(x'; z, W, b) + S(x; z', W, 0) + S(x; z, W', b')."""
    (x, z, weight, bias), (dx, dz, dweight, dbias) = inputs, tangents
    terms = []
    if dx is not None:
        terms.append(op(dx, z, weight, bias, *numbers))
    if dz is not None:
        terms.append(op(x, dz, weight, None, *numbers))
    if dweight is not None or dbias is not None:
        terms.append(op(x, z, torch.zeros_like(weight) if dweight is None else dweight, dbias, *numbers))
    return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]


def _differentiated(inputs: Tensors) -> bool:
    return torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in inputs)


def _may_be_dual() -> bool:
    # Reading the tangent of a tensor is slow; only in these cases can there be one. While a graph is
    # traced (there is a dispatch mode), `forward_ad._current_level` is not set.
    level = forward_ad._current_level >= 0 or _transformed() or torch._C._len_torch_dispatch_stack() > 0
    return level and torch._C._is_fwd_grad_enabled()


def _has_tangent(value: Tensor | None) -> bool:
    return value is not None and forward_ad.unpack_dual(value, level=0).tangent is not None


def _primal(value: Tensor | None) -> Tensor | None:
    return None if value is None else forward_ad.unpack_dual(value, level=0).primal


def call(op: Any, *args: Any) -> Any:
    """Call the operator; where nothing is recorded, without the kernel at the Autograd key, which dispatches again."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.is_inference_mode_enabled() or _may_be_dual():
        return op(*args)
    with torch._C._AutoDispatchBelowAutograd():
        return op(*args)


def _below(op: Any, keyset: Any, args: Sequence[Any]) -> Any:
    with torch._C._AutoDispatchBelowAutograd():
        return op.redispatch(keyset & torch._C._after_autograd_keyset, *args)


def _register(name: str, tensors: int, backward_formula: Backward, tangent_formula: Tangent) -> None:
    """Register the derivatives of the operator `name`, whose first `tensors` arguments are tensors."""
    op = getattr(_ops, name).default

    class Derivative(_SingleLevelFunction):
        @staticmethod
        def forward(ctx: Any, keyset: Any, *args: Any) -> Tensor:
            ctx.save_for_backward(*args[:tensors])
            ctx.save_for_forward(*args[:tensors])
            ctx.numbers = args[tensors:]
            if not _transformed():
                return _below(op, keyset, args)
            # `apply` has disabled both modes, which the levels below need.
            with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
                return _below(op, keyset, args)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
            grads = backward_formula(ctx.needs_input_grad[1:], grad, ctx.saved_tensors, ctx.numbers)
            return (None, *grads, *[None] * len(ctx.numbers))

        @staticmethod
        def jvp(ctx: Any, _: None, *tangents: Any) -> Tensor:
            # `apply` has disabled forward mode here too. Primals have no tangent at this level, only below.
            with forward_ad._set_fwd_grad_enabled(_transformed()):
                return tangent_formula(op, list(map(_primal, ctx.saved_tensors)), tangents[:tensors], ctx.numbers)

    function: Any = type(f"Derivative_{name}", (Derivative,), {})

    def kernel(keyset: Any, *args: Any) -> Any:
        if not (_differentiated(args[:tensors]) or _may_be_dual()):
            return _below(op, keyset, args)
        if not _transformed():
            return function.apply(keyset, *args)
        with enable_single_level_autograd_function():
            return function.apply(keyset, *args)

    schema.LIBRARY.impl(name, kernel, "Autograd", with_keyset=True)


def _register_steps(name: str, tensors: int, steps: Callable[..., Any]) -> None:
    """Register the derivatives of the operator `name` as those of the `steps` that it computes at once."""
    op = getattr(_ops, name).default

    def kernel(keyset: Any, *args: Any) -> Any:
        given = args[:tensors]
        if _differentiated(given) or (_may_be_dual() and any(map(_has_tangent, given))):
            return steps(*args)
        return _below(op, keyset, args)

    schema.LIBRARY.impl(name, kernel, "Autograd", with_keyset=True)


_register("involution2d", 2, _backward_y, _tangent)
_register("involution2d_softmax", 2, _backward_softmax, _tangent_softmax)
_register("involution2d_grad_x", 2, _backward_grad_x, _tangent)
_register("involution2d_grad_kernel", 2, _backward_grad_kernel, _tangent)
_register("involution2d_spanned", 4, _backward_spanned, _tangent_spanned)
# Derivatives of higher order are rarely needed and long to write.
_register_steps("involution2d_spanned_backward", 5, spanned.involution2d_spanned_backward)
_register_steps("ska", 2, axes.ska)
