"""Dtypes of accumulation and precision of matrix products."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

# The interpreter runs neither inline assembly nor products of bfloat16 matrices.
INTERPRETED = tl.constexpr(knobs.runtime.interpret)


def sum_dtype(x: Tensor) -> tl.dtype:
    """Return the accumulation dtype for sums over `x`."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def ptx() -> bool:
    """Return whether the device supports NVIDIA's assembly."""
    return torch.version.hip is None


def product_mode() -> str:
    """Return how float32 matrices are multiplied: with PyTorch's setting for convolutions, which the span replaces.

    AMD's matrix units multiply float32 without conversion.
    """
    if not ptx():
        return "ieee"
    cudnn: Any = torch.backends.cudnn
    return "tf32" if cudnn.conv.fp32_precision == "tf32" else "tf32x3"


@triton.jit
def widen(x, plan: tl.constexpr):
    """Return `x` in the accumulation dtype."""
    if x.dtype == tl.bfloat16 and plan.ACC == tl.float32 and plan.LAST and plan.PTX and not INTERPRETED:
        # Values that were loaded in pairs: one instruction each, where the compiler's own conversion takes three for
        # two.
        wide = tl.inline_asm_elementwise(
            "{ shl.b32 $0, $2, 16; and.b32 $1, $2, 0xffff0000; }",
            "=r,=r,r",
            [x],
            dtype=tl.float32,
            is_pure=True,
            pack=2,
        )
    else:
        wide = x.to(plan.ACC)
    return wide


@triton.jit
def product(a, b, acc, plan: tl.constexpr):
    """acc + a·b on the tensor cores."""
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision=plan.PRECISION)
