"""Compile the Triton programs for GPU architectures, and count the instructions. No GPU is needed.

    python -m benchmarks run gpu-code [-- AXIS=VALUE ...]

The default covers all pairs of layout, group width, type, window, stride and architecture, and takes about 10 minutes
on one core; with values of some axes, such as `arch=sm_90 layout=nhwc`, all combinations with these. If an operator is
not bound by memory, it is bound by the number of instructions per multiply-add in the innermost loop over the window:
an NVIDIA multiprocessor issues four per cycle.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import triton

from benchmarks.gpu.matrix import AXES, Case, every, launch_all, selection
from benchmarks.measuring.options import Measured, Options

TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)[A-Z0-9_.]*([^;]*);")


def run(options: Options) -> Measured:
    """Compile and count in separate processes, in which Triton's driver is replaced."""
    os.environ.pop("TRITON_INTERPRET", None)
    chosen = dict(word.split("=") for word in options.arguments)
    if not chosen.keys() <= AXES.keys():
        raise ValueError(f"AXIS: expected one of {', '.join(AXES)}, got {', '.join(chosen)}")
    typed = {name: type(AXES[name][0])(value) for name, value in chosen.items()}
    cases = every(**typed) if typed else selection()
    variant = "-".join(["gpu-code", *chosen.values()])
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = pool.map(rows, cases[:1] if options.dry_run else cases)
        return Measured([row for case in found for row in case], variant=variant)


def rows(case: Case) -> list[dict[str, Any]]:
    """Compile a case and count each of its programs. Of the launches for the phases of a stride, take the costliest."""
    found: dict[str, dict[str, Any]] = {}
    for launch in launch_all(case):
        costs = {**asdict(case), "program": launch["program"], **count(launch["binary"], case.arch)}
        before = found.setdefault(launch["program"], costs)
        if (costs["spilled_bytes"], costs["registers"]) > (before["spilled_bytes"], before["registers"]):
            found[launch["program"]] = costs
    return list(found.values())


def count(binary: Any, arch: str) -> dict[str, Any]:
    """Return registers, shared memory and instructions per multiply-add of a compiled program."""
    amd = arch.startswith("gfx")
    found = _amd(binary.asm["amdgcn"]) if amd else nvidia(binary.asm["cubin"])
    bodies = [body for body in found.pop("loops") if _multiply_adds(body)]
    innermost = min(bodies, key=lambda body: body.total(), default=None)
    each = round(innermost.total() / _multiply_adds(innermost), 2) if innermost else None
    shared, warps = binary.metadata.shared, binary.metadata.num_warps
    return {
        **found,
        "shared_bytes": shared,
        "threads": (64 if amd else 32) * warps,
        "instructions_per_multiply_add": each,
    }


def _multiply_adds(body: collections.Counter[str]) -> int:
    names = ("FFMA", "FMUL", "v_fmac_f32", "v_fma_f32", "v_fma_mix_f32", "v_mul_f32")
    return sum(body[name] for name in names) + 2 * (body["FFMA2"] + body["v_pk_fma_f32"] + body["v_pk_mul_f32"])


def nvidia(cubin: bytes) -> dict[str, Any]:
    """Return registers, spilled bytes, and the instructions of each loop, inner ones first."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = _tool("-res-usage", file.name)
        code = [(int(at, 16), name, rest) for at, name, rest in INSTRUCTION.findall(_tool("-sass", file.name))]
    loops = []
    for at, name, rest in code:
        target = re.search(r"0x([0-9a-f]+)", rest) if name == "BRA" else None
        if target and int(target[1], 16) < at:
            loops.append(collections.Counter(n for a, n, _ in code if int(target[1], 16) <= a <= at))
    return {
        "registers": int(re.findall(r"REG:(\d+)", usage)[0]),
        "spilled_bytes": int(re.findall(r"STACK:(\d+)", usage)[0]),
        "loops": loops,
    }


def _amd(text: str) -> dict[str, Any]:
    code: list[str] = []
    labels: dict[str, int] = {}
    loops: list[collections.Counter[str]] = []
    for line in text.splitlines():
        words = line.split(";")[0].split()
        if words and words[0].endswith(":"):
            labels[words[0][:-1]] = len(code)
        elif words and re.match(r"[svdg]\w*_", words[0]):
            code.append(words[0].removesuffix("_e32").removesuffix("_e64"))
            if words[0].startswith(("s_cbranch", "s_branch")) and words[1] in labels:
                loops.append(collections.Counter(code[labels[words[1]] :]))
    (registers,) = re.findall(r"\.vgpr_count:\s+(\d+)", text)
    (spilled,) = re.findall(r"\.vgpr_spill_count:\s+(\d+)", text)
    return {"registers": int(registers), "spilled_bytes": 4 * int(spilled), "loops": loops}


def _tool(*arguments: str) -> str:
    done = subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def main() -> None:
    """Print the counts of some cases, or the launches for images of one size."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name, values in AXES.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(values[0]), help=f"of {values}")
    parser.add_argument("--launch", nargs=3, type=int, metavar=("BATCH", "HEIGHT", "WIDTH"))
    given = vars(parser.parse_args())
    size = given.pop("launch")
    chosen = {name: value for name, value in given.items() if value is not None}
    if size:
        for launch in launch_all(Case(**chosen), size[0], tuple(size[1:])):
            print(json.dumps({"program": launch["program"], "hash": launch["binary"].metadata.hash}))
    else:
        for case in every(**chosen):
            for row in rows(case):
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
