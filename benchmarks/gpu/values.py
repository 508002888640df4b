"""Random cases of the operators on a GPU, against the formula in float64 on the CPU.

python -m benchmarks run gpu-values --device cuda [-- CASES]

Every case compiles programs of its own, so cases run in several processes. Those that do not fit into the budget are
not run; their number is recorded.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.correctness import drawn
from benchmarks.gpu.switch import TENSOR_CORES, tensor_cores
from benchmarks.measuring.options import Measured, Options
from involution.ops import cuda
from involution.ops.cuda import band

CASES = 480
ALLOWED = 5
"""Largest error, in units of `drawn.DTYPES`. Products on tensor cores round the gradient of the kernels to 16 bits."""

FITTING: dict[str, Any] = {
    "memory": ("channels_last",) * 4,
    "reduced": 16,
    "stride": (1, 1),
    "dilation": (1, 1),
    "padding": (3, 3),
}
"""What the program for tensor cores supports, for every other case."""

Found = tuple[drawn.Case, dict[str, float]]


def draw(seed: int) -> drawn.Case:
    """Return the case of a seed: each second one can run on tensor cores."""
    case = drawn.draw(seed)
    if seed % 2:
        case = replace(case, **FITTING, window=(7, 7), dtype=("bfloat16", "float16")[seed // 2 % 2])
        case = replace(case, group_channels=(8, 16, 32)[seed // 4 % 3], stride=((1, 1), (2, 2))[seed // 8 % 2])
    return case


def run(options: Options) -> Measured:
    """Check the cases in the order of their seeds."""
    if options.dry_run:
        smallest: dict[str, Any] = {
            **FITTING,
            "window": (1, 1),
            "padding": (0, 0),
            "size": (1, 2),
            "batch": 1,
            "reduced": 1,
        }
        smallest |= {"dtype": "float32", "groups": 1, "group_channels": 2}
        found, count = [check(replace(drawn.draw(0), **smallest), "cpu")], 1
    else:
        count = int(options.arguments[0]) if options.arguments else CASES
        end = time.time() + options.budget.left() - 20  # the last cases may take as long
        with ProcessPoolExecutor(min(os.cpu_count() or 1, 16), get_context("spawn")) as pool:
            found = [each for each in pool.map(before, [end] * count, range(count)) if each]
    rows = rows_of(found)
    wrong = sum(row["wrong"] for row in rows)
    notes = f"{len(found)} of {count} cases were run, {wrong} results are wrong. Errors are in units of the tolerance."
    return Measured(rows, {"cases": len(found), "wrong": wrong}, notes)


def before(end: float, seed: int) -> Found | None:
    """Check the case of a seed on the GPU, unless the time `end` has come."""
    return check(draw(seed), "cuda") if time.time() < end else None


def check(case: drawn.Case, device: str) -> Found:
    """Return the errors of a case, also of the program for tensor cores if that supports it."""
    cudnn: Any = torch.backends.cudnn
    cudnn.conv.fp32_precision = "ieee"
    ops = torch.ops.involution if device == "cuda" else cuda
    here = drawn.tensors(case, device)
    got = dict(drawn.computed(case, here, ops))
    with tensor_cores():
        geometry = list(case.stride), list(case.padding), list(case.dilation)
        bias = here["bias"] if case.bias else None
        span = (here["x"], here["reduced"], here["weight"], bias, case.groups, list(case.window), *geometry)
        second = {"spanned y": ops.involution2d_spanned(*span)} if band.serves(*span) else {}
    t = drawn.tensors(case)
    found = drawn.compared(case, got, t)
    for name, error in drawn.compared(case, second, t).items():
        found[f"{name}, {TENSOR_CORES}"] = error
    return case, {name: error / ALLOWED for name, error in found.items()}


def rows_of(found: list[Found]) -> list[dict[str, Any]]:
    """Return one row for each dtype and result."""
    groups: dict[tuple[str, str], list[tuple[drawn.Case, float]]] = defaultdict(list)
    for case, errors in found:
        for name, error in errors.items():
            groups[case.dtype, name].append((case, error))
    return [
        {
            "dtype": dtype,
            "result": name,
            "cases": len(errors),
            "wrong": sum(error > 1 for _, error in errors),
            "largest_error": max(error for _, error in errors),
            "wrong_cases": [drawn.describe(case) for case, error in errors if error > 1][:3],
        }
        for (dtype, name), errors in sorted(groups.items())
    ]
