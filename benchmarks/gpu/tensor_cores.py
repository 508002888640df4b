"""Compile the forward spanned program for tensor cores, and count its instructions. No GPU is needed.

    python -m benchmarks run gpu-tensor-cores

Instructions are those that a warp executes for one block of channels: copies, both products, and stores. They are
divided by the multiply-adds of the aggregation in a lane. Outputs outside of the image count as computed.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch

from benchmarks.gpu.code import nvidia
from benchmarks.gpu.matrix import REDUCTION, Case
from benchmarks.measuring.options import Measured, Options
from benchmarks.measuring.shapes import STAGES
from involution.ops.cuda.band import nvrtc
from involution.ops.cuda.band.tiling import WARPS, plan, up

BATCH = 256
REDNET = [Case(channels=stage.channels, side=stage.side) for stage in STAGES]
CASES = [
    *REDNET,
    *(replace(case, arch="sm_80") for case in REDNET),
    Case(window=3),
    Case(window=5),
    Case(group_channels=8),
    Case(stride=2),
    Case(dtype="float16"),
]


def run(options: Options) -> Measured:
    """Compile and count."""
    return Measured([row(case) for case in (CASES[:1] if options.dry_run else CASES)])


def row(case: Case) -> dict[str, Any]:
    """Return registers, shared memory and instructions of one case."""
    dtype, window, stride = getattr(torch, case.dtype), [case.window] * 2, [case.stride] * 2

    def image(channels: int, side: int) -> torch.Tensor:
        return torch.empty(BATCH, channels, side, side, dtype=dtype, device="meta").to(
            memory_format=torch.channels_last
        )

    x, reduced = image(case.channels, case.side), image(case.channels // REDUCTION, up(case.side, case.stride))
    launch = plan(
        x, reduced, True, case.channels // case.group_channels, window, stride, [case.window // 2] * 2, [1, 1]
    )
    found = nvidia(nvrtc.compile_for(case.arch, launch.constants))
    constants = dict(launch.constants)
    *_, copies_of_x, copies_of_weights, block = [loop for loop in found.pop("loops") if loop["LDGSTS"]]
    lines = constants["TY"] * (WARPS * constants["ROWS"] - 1) + constants["KH"]
    rounds = up(constants["KH"] * constants["KW"] * constants["FEATURES"] // 8, 32 * WARPS)
    instructions = block.total() + copies_of_x.total() * (lines / WARPS - 1) + copies_of_weights.total() * (rounds - 1)
    multiply_adds = constants["ROWS"] * 16 * constants["WIDTH"] * case.window**2 / 32
    return {
        **asdict(case),
        **found,
        "shared_bytes": launch.shared,
        "threads": 32 * WARPS,
        "matrix_instructions": block["HMMA"],
        "instructions": round(instructions),
        "instructions_per_multiply_add": round(instructions / multiply_adds, 2),
    }
