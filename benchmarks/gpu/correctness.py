"""Compare the CUDA operators with the float64 reference before timing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring.options import Row
from benchmarks.measuring.shapes import TINY, Stage, operands
from involution.ops import cuda, reference, spanned

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


def calls(module: Any, t: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Return the operators of a module as functions of the operands `t`."""
    x, grad, kernel, groups = t["x"], t["grad"], t["kernel"], t["groups"]
    window, geometry = t["window"], t["geometry"]
    span = (t["reduced"], t["weight"], t["bias"], groups, window, *geometry)
    both = module if module is not reference else spanned
    return {
        "involution2d": lambda: module.involution2d(x, kernel, *geometry),
        "involution2d_grad_x": lambda: module.involution2d_grad_x(grad, kernel, list(x.shape[2:]), *geometry),
        "involution2d_grad_kernel": lambda: module.involution2d_grad_kernel(grad, x, groups, window, *geometry),
        "involution2d_spanned": lambda: both.involution2d_spanned(x, *span),
        "involution2d_spanned_backward": lambda: both.involution2d_spanned_backward(grad, x, *span),
    }


def check(device: torch.device, dry_run: bool) -> list[Row]:
    """Return the errors of the CUDA operators, ‖got − true‖ / ‖true‖.

    Raises:
        ValueError: an error is too large.
    """
    cudnn: Any = torch.backends.cudnn
    before, cudnn.conv.fp32_precision = cudnn.conv.fp32_precision, "ieee"
    try:
        return _errors(device, dry_run)
    finally:
        cudnn.conv.fp32_precision = before


def _errors(device: torch.device, dry_run: bool) -> list[Row]:
    rows: list[Row] = []
    for dtype in (torch.float32, torch.bfloat16):
        t = operands(TINY if dry_run else Stage(2, 128, 27), 1 if dry_run else 3, dtype=dtype, device=device)
        wide = {name: value.double() if isinstance(value, Tensor) else value for name, value in t.items()}
        true = calls(reference, wide)
        for name, call in calls(cuda, t).items():
            got, expected = call(), true[name]()
            pairs = [(got, expected)] if isinstance(got, Tensor) else zip(got, expected, strict=True)
            error = max(((g.double() - e).norm() / e.norm()).item() for g, e in pairs)
            rows.append({"operator": name, "dtype": str(dtype).removeprefix("torch."), "relative_error": error})
            if not error <= TOLERANCE[dtype]:
                raise ValueError(f"{name}: expected {dtype} within {TOLERANCE[dtype]}, got an error of {error:.1e}")
    return rows
