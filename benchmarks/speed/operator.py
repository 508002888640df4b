"""The operators on the shapes of RedNet-50, compared to formulas in plain PyTorch.

On CPU, the operators are compared to the unfold formula and the sum of shifted images, each in both memory formats. On
GPU, they are also compared to the 3x3 convolution and to the program for tensor cores; their results are checked first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.gpu.correctness import calls, check
from benchmarks.gpu.switch import TENSOR_CORES, on_tensor_cores
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.peak import limits, share
from benchmarks.measuring.shapes import FORMATS, STAGES, TINY, WINDOW, operands
from benchmarks.measuring.timing import Work, interleaved
from benchmarks.speed.rivals import compiled, shifted, unfolded
from involution.ops import cuda


def run(options: Options) -> Measured:
    """Time the operators for each stage, memory format and dtype."""
    settings: Row = {"window": WINDOW, "batch": 2 if options.dry_run else 256 if options.target == "cuda" else 16}
    if options.target == "cuda":
        settings["errors"] = check(options.device, options.dry_run)
    settings["limits"] = limits(options)
    return Measured(list(_rows(options, settings)), settings)


def _rows(options: Options, settings: Row) -> Iterator[Row]:
    gpu, dry = options.target == "cuda", options.dry_run
    dtypes = ["bfloat16", "float32"] if gpu and not dry else ["float32"]
    formats = ["channels last"] if gpu and dry else FORMATS
    for layout, dtype, stage in itertools.product(formats, dtypes, [TINY] if dry else STAGES):
        if not options.budget.allows(f"{dtype}, stage {stage.number}, {layout}", 12 if gpu else 40):
            continue
        where = {"dtype": getattr(torch, dtype), "device": options.device}
        t = operands(stage, settings["batch"], FORMATS[layout], **where)
        module = cuda if gpu else torch.ops.involution  # in a dry run for a GPU, the interpreter on CPU tensors
        works: dict[str, Work] = {**calls(module, t), **(_convolution(t) if gpu else _rivals(t, dry))}
        counts, limit = least(t), settings["limits"]
        if gpu and layout == "channels last" and (dtype == "bfloat16" or dry):
            works |= {name: work for name, work in _rivals(t, dry).items() if name != "unfold, compiled"}
        if gpu and layout == "channels last":
            works[f"involution2d_spanned, {TENSOR_CORES}"] = on_tensor_cores(works["involution2d_spanned"])
            counts[f"involution2d_spanned, {TENSOR_CORES}"] = counts["involution2d_spanned"]
        for name, found in interleaved(works, options.device, **options.timing(3.0 if gpu else 5.0)).items():
            row = {"operator": name, "stage": stage.number, "channels": stage.channels, "side": stage.side}
            row |= {"memory_format": layout, "dtype": dtype, **found.row()}
            if name in counts:
                size, macs = counts[name]
                row |= {"bytes": size, "macs": macs, "of_macs_limit": share(limit, macs, dtype, found.median)}
                row["of_copy_limit"] = size / found.median / limit["copy_bytes_per_s"]
            yield row


def _rivals(t: dict[str, Any], dry: bool) -> dict[str, Work]:
    torch.compiler.reset()
    x, kernel, backend = t["x"], t["kernel"], "eager" if dry else "inductor"
    return {
        "unfold": partial(unfolded, x, kernel),
        "unfold, compiled": partial(compiled(unfolded, backend), x, kernel),
        "shifted sums, compiled": partial(compiled(shifted, backend), x, kernel),
    }


def _convolution(t: dict[str, Any]) -> dict[str, Work]:
    x, grad = t["x"], t["grad"]
    weight = torch.randn(x.shape[1], x.shape[1], 3, 3, dtype=x.dtype, device=x.device)
    weight = weight.contiguous(memory_format=torch.channels_last)
    backward = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])
    return {
        "conv2d 3x3": lambda: F.conv2d(x, weight, padding=1),
        "conv2d 3x3 backward": lambda: torch.ops.aten.convolution_backward(grad, x, weight, None, *backward),
    }


def least(t: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the minimum bytes and multiply-adds of each operator: each input read once, each output written once."""
    x, reduced, kernel, weight = (t[name] for name in ("x", "reduced", "kernel", "weight"))
    once = x.numel() * math.prod(t["window"])  # the same for each contraction
    span = reduced.numel() * weight.shape[0]
    image, features, parameters = x.nbytes, reduced.nbytes, weight.nbytes + t["bias"].nbytes
    contraction = (2 * image + kernel.nbytes, once)
    return {
        "involution2d": contraction,
        "involution2d_grad_x": contraction,
        "involution2d_grad_kernel": contraction,
        "involution2d_spanned": (2 * image + features + parameters, once + span),
        "involution2d_spanned_backward": (3 * image + 2 * (features + parameters), 2 * once + 3 * span),
    }
