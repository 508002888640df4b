"""Compile the CUDA operators for an H100, which need not be there, and count what the machine code costs.

    python -m benchmarks run gpu-code

Instructions per multiply-add, in the innermost loop
over the window, are what the operators are bound by when memory is not: a multiprocessor issues four a cycle.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from benchmarks.measuring.memory import in_new_process
from benchmarks.measuring.options import Measured, Options
from involution.ops import cuda

WINDOW, GROUP_CHANNELS, REDUCTION = 7, 16, 4
TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)[A-Z0-9_.]*([^;]*);")
launch_and_run = JITFunction.run
launches: list[dict[str, Any]] = []


class Target:
    """What compiling asks of a driver: the target, one device, one stream."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
    """Compile and remember what was to be launched."""
    binary = launch_and_run(self, *args, grid=grid, warmup=True, **kwargs)
    launches.append({"file": self.fn.__module__.rpartition(".")[2], "binary": binary})
    return binary


def launch_all(batch: int, height: int, width: int, channels: int, dtype: torch.dtype) -> list[dict[str, Any]]:
    """Call every operator as a block of RedNet does, channels last; return what would have been launched."""
    groups, features = channels // GROUP_CHANNELS, channels // REDUCTION
    taps = groups * WINDOW**2

    def image(depth: int) -> torch.Tensor:
        return torch.empty(batch, depth, height, width, dtype=dtype).contiguous(memory_format=torch.channels_last)

    x, grad, reduced = image(channels), image(channels), image(features)
    kernel = image(taps).unflatten(1, (groups, WINDOW, WINDOW))
    weight, bias = torch.empty(taps, features, dtype=dtype), torch.empty(taps, dtype=dtype)
    geometry = [1, 1], [WINDOW // 2] * 2, [1, 1]
    span = reduced, weight, bias, groups, [WINDOW] * 2, *geometry
    launches.clear()
    cuda.involution2d(x, kernel, *geometry)
    cuda.involution2d_grad_x(grad, kernel, [height, width], *geometry)
    cuda.involution2d_grad_kernel(grad, x, groups, [WINDOW] * 2, *geometry)
    cuda.involution2d_spanned(x, *span)
    cuda.involution2d_spanned_backward(grad, x, *span)
    return list(launches)


def count(binary: Any) -> dict[str, Any]:
    """Return registers, shared memory and instructions per multiply-add of a compiled program."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage = _tool("-res-usage", file.name)
        code = [(int(at, 16), name, rest) for at, name, rest in INSTRUCTION.findall(_tool("-sass", file.name))]
    loops = []
    for at, name, rest in code:
        target = re.search(r"0x([0-9a-f]+)", rest) if name == "BRA" else None
        if target and int(target[1], 16) < at:
            body = collections.Counter(n for a, n, _ in code if int(target[1], 16) <= a <= at)
            if body["FFMA"]:
                loops.append(body)
    innermost = min(loops, key=lambda body: body.total())
    multiply_adds = innermost["FFMA"] + innermost["FMUL"]
    return {
        "registers": int(re.findall(r"REG:(\d+)", usage)[0]),
        "spilled_bytes": int(re.findall(r"STACK:(\d+)", usage)[0]),
        "shared_bytes": binary.metadata.shared,
        "threads": 32 * binary.metadata.num_warps,
        "instructions_per_multiply_add": round(innermost.total() / multiply_adds, 2),
    }


def _tool(*arguments: str) -> str:
    done = subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def run(options: Options) -> Measured:
    """Compile and count in a process of its own: Triton's driver is replaced there."""
    return Measured(in_new_process("benchmarks.gpu.code", "measure", options.dry_run), {"target": "sm_90"})


def measure(dry_run: bool) -> list[dict[str, Any]]:
    """Compile for the first and the last stage; return a row per program, stage and dtype."""
    compile_for_target()
    rows = []
    for dtype in (torch.bfloat16,) if dry_run else (torch.bfloat16, torch.float32):
        for stage, (channels, side) in ({4: (512, 7)} if dry_run else {1: (64, 56), 4: (512, 7)}).items():
            for launch in launch_all(256, side, side, channels, dtype):
                row = {"file": launch["file"], "stage": stage, "dtype": str(dtype).removeprefix("torch.")}
                rows.append({**row, **count(launch["binary"])})
    return rows


def compile_for_target() -> None:
    """From now on, compile what is launched instead of launching it."""
    driver.set_active(Target())
    JITFunction.run = compile_only


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print what the operators launch for images of one size.")
    parser.add_argument("--launch", nargs=3, type=int, required=True, metavar=("BATCH", "HEIGHT", "WIDTH"))
    compile_for_target()
    batch, height, width = parser.parse_args().launch
    for launch in launch_all(batch, height, width, 64, torch.bfloat16):
        found = launch["binary"].metadata
        print(json.dumps({"file": launch["file"], "hash": found.hash, "shared": found.shared}))
