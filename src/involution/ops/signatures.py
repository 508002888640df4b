"""Signatures of the operators, in the language of PyTorch's schemas.

They are compiled into the C++ library, so that a process without Python knows the operators once it has loaded it.
Where there is no such library, `schema.py` defines them. This file is read without torch, by setup.py.
"""

from __future__ import annotations

_SPAN = "Tensor reduced, Tensor weight, Tensor? bias, SymInt groups, SymInt[2] window"
_GEOMETRY = "int[2] stride, int[2] padding, int[2] dilation"
_BLOCK = (
    "Tensor enter, Tensor enter_bias, Tensor reduce, Tensor reduce_bias, Tensor span, Tensor span_bias, Tensor scale, "
    "Tensor shift, Tensor leave, Tensor leave_bias, int groups, int[2] window"
)
_MASK = "bool[4] output_mask=[True, True, True, True]"

SIGNATURES = {
    "involution2d": f"(Tensor x, Tensor kernel, {_GEOMETRY}) -> Tensor",
    "involution2d_softmax": f"(Tensor x, Tensor scores, {_GEOMETRY}) -> Tensor",
    "ska": "(Tensor x, Tensor w) -> Tensor",
    "involution2d_grad_x": f"(Tensor grad, Tensor kernel, SymInt[2] size, {_GEOMETRY}) -> Tensor",
    "involution2d_grad_kernel": f"(Tensor grad, Tensor x, SymInt groups, SymInt[2] window, {_GEOMETRY}) -> Tensor",
    "involution2d_spanned": f"(Tensor x, {_SPAN}, {_GEOMETRY}) -> Tensor",
    "involution2d_spanned_backward": (
        f"(Tensor grad, Tensor x, {_SPAN}, {_GEOMETRY}, {_MASK})"
        " -> (Tensor grad_x, Tensor grad_reduced, Tensor grad_weight, Tensor grad_bias)"
    ),
    "batch_norm": (
        "(Tensor x, Tensor? shortcut, Tensor weight, Tensor bias, float eps, bool relu)"
        " -> (Tensor y, Tensor mean, Tensor var)"
    ),
    "batch_norm_backward": (
        "(Tensor grad, Tensor x, Tensor? y, Tensor weight, Tensor bias, Tensor mean, Tensor var, float eps, bool relu)"
        " -> (Tensor grad_x, Tensor grad_shortcut, Tensor grad_weight, Tensor grad_bias)"
    ),
    "pointwise_conv": "(Tensor x, Tensor weight) -> Tensor",
    "pointwise_conv_backward": (
        "(Tensor grad, Tensor x, Tensor weight, Tensor? grad_shortcut, int shortcut_stride, bool[2] output_mask)"
        " -> (Tensor grad_x, Tensor grad_weight)"
    ),
    "bottleneck": f"(Tensor x, {_BLOCK}, int[2] stride, int[2] dilation, bool projection) -> Tensor",
    "bottleneck_": f"(Tensor(a!) x, {_BLOCK}, int[2] stride, int[2] dilation) -> ()",
    "stem": f"(Tensor x, {_BLOCK}) -> Tensor",
}
"""Operator → its arguments and results."""

MACRO = ("INVOLUTION_SIGNATURES", ", ".join(f'"{name}{signature}"' for name, signature in SIGNATURES.items()))
"""Name and value of the macro that the C++ library is compiled with."""
