"""Registration of the operators with PyTorch: the reference, fakes, autocast and multiply-adds.

Let T(g, x, k) = Σ g·x·k over batch, channel, window and output pixel. It is linear in each argument, and its three
contractions are the operators: ∂T/∂g is `involution2d`, ∂T/∂x is `involution2d_grad_x` and ∂T/∂k is
`involution2d_grad_kernel`. Interleaved groups and several output pixels per window are further axes of g, x and k
(`axes.py`), which no signature mentions.

Two operators compute ∂T/∂g from what kernels are made of, so that an implementation need not write the kernels to
memory. `involution2d_softmax` takes scores, of which the softmax over the window is the kernel. The *spanned*
involution takes the reduced features and the weight of the generator's last convolution; the kernels are K·K·G/C times
as large as the feature map.

`ska` is `involution2d` with the arguments of small kernel aggregation: the smallest maps of LSNet take less time than
views and lists of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from involution.ops import axes, cpu, layout, reference, softmax, spanned
from involution.ops.signatures import SIGNATURES

Ints = Sequence[int]

LIBRARY = torch.library.Library("involution", "FRAGMENT")

REFERENCE: dict[str, Callable[..., Any]] = {}
"""Operator → its implementation for any device, for implementations that cannot serve a call."""


def _multiply_adds(y: Ints, window: Ints) -> int:
    return prod(y) * window[0] * window[1]


def _flops_y(x: Ints, kernel: Ints, *_: Any, **__: Any) -> int:
    return 2 * _multiply_adds([*x[:-2], *kernel[4:]], kernel[2:4])


def _flops_ska(x: Ints, w: Ints, **_: Any) -> int:
    return 2 * _multiply_adds(x, [w[2], 1])


def _flops_grad_x(grad: Ints, kernel: Ints, *_: Any, **__: Any) -> int:
    return 2 * _multiply_adds(grad, kernel[2:4])


def _flops_grad_kernel(grad: Ints, x: Ints, groups: int, window: Ints, *_: Any, **__: Any) -> int:
    return 2 * _multiply_adds(grad, window)


def _flops_spanned(
    x: Ints, reduced: Ints, weight: Ints, bias: Any, groups: int, window: Ints, *_: Any, **__: Any
) -> int:
    return 2 * (_multiply_adds([*x[:2], *reduced[2:]], window) + _span_multiply_adds(reduced, weight))


def _flops_spanned_backward(
    grad: Ints,
    x: Ints,
    reduced: Ints,
    weight: Ints,
    bias: Any,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    output_mask: Sequence[bool] = layout.ALL,
    **_: Any,
) -> int:
    for_x, for_reduced, for_weight, _for_bias = output_mask
    for_kernel = any(output_mask[1:])
    spans = for_x + for_reduced + for_weight  # the kernels, recomputed for grad_x; the two products with grad_kernel
    return 2 * ((for_x + for_kernel) * _multiply_adds(grad, window) + spans * _span_multiply_adds(reduced, weight))


def _span_multiply_adds(reduced: Ints, weight: Ints) -> int:
    return reduced[0] * reduced[2] * reduced[3] * weight[0] * weight[1]


def operator(name: str) -> Any:
    """Return an operator, which the C++ library has defined where there is one.

    Raises:
        ImportError: the C++ library was compiled with another signature.
    """
    if not hasattr(torch.ops.involution, name):
        LIBRARY.define(name + SIGNATURES[name])
    op = getattr(torch.ops.involution, name)
    expected = torch._C.parse_schema(f"involution::{name}{SIGNATURES[name]}")
    if op.default._schema != expected:
        raise ImportError(
            f"{cpu.LIBRARY}: expected {expected}, got {op.default._schema}; compile the C++ extension again"
        )
    return op


def _register(
    name: str,
    compute: Callable[..., Any],
    empty: Callable[..., Any],
    flops: Any,
    autocast_dtype: Callable[[str], torch.dtype] = torch.get_autocast_dtype,
) -> None:
    """Register one operator: the reference for every device, fake, autocast and multiply-adds."""
    op = operator(name)

    def default(*args: Any) -> Any:
        outputs, values = empty(*args), compute(*args)
        if isinstance(outputs, Tensor):
            return outputs.copy_(values)
        return tuple(output.copy_(value) for output, value in zip(outputs, values, strict=True))

    def autocast(device: str) -> Callable[..., Any]:
        key = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, f"Autocast{device.upper()}"))

        def cast(*args: Any) -> Any:
            dtype = autocast_dtype(device)
            with torch._C._ExcludeDispatchKeyGuard(key):
                return op(*(_autocast(arg, dtype) for arg in args))

        return cast

    REFERENCE[name] = default
    LIBRARY.impl(name, default, "CompositeExplicitAutograd")
    for device in ("cpu", "cuda"):
        LIBRARY.impl(name, autocast(device), f"Autocast{device.upper()}")
    torch.library.register_fake(f"involution::{name}", empty, lib=LIBRARY)
    register_flop_formula(op)(flops)  # PyTorch counts a multiply-add as two


def _autocast(value: Any, dtype: torch.dtype) -> Any:
    """Cast every floating-point tensor but float64, as autocast does."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.to(dtype)
    return value


_register("involution2d", reference.involution2d, layout.empty_y, _flops_y)
_register(
    "involution2d_softmax",
    softmax.involution2d_softmax,
    layout.empty_y,
    _flops_y,
    autocast_dtype=lambda device: torch.float32,  # as for a softmax
)
_register("ska", axes.ska, layout.empty_ska, _flops_ska)
_register("involution2d_grad_x", reference.involution2d_grad_x, layout.empty_grad_x, _flops_grad_x)
_register("involution2d_grad_kernel", reference.involution2d_grad_kernel, layout.empty_grad_kernel, _flops_grad_kernel)
_register("involution2d_spanned", spanned.involution2d_spanned, layout.empty_spanned, _flops_spanned)
_register(
    "involution2d_spanned_backward",
    spanned.involution2d_spanned_backward,
    layout.empty_spanned_backward,
    _flops_spanned_backward,
)
