"""Random cases of the compiled operators on CPU, for each instruction set that the processor supports.

python -m benchmarks run operator-cases [-- CASES]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from importlib import import_module
from typing import Any

from benchmarks.measuring.options import Measured, Options
from involution.ops import cpu

CASES = 10_000


def run(options: Options) -> Measured:
    """Divide the cases among the instruction sets; each runs in a separate process."""
    return divide(options, "drawn", CASES)


def divide(options: Options, drawn: str, cases: int, extensions: tuple[str, ...] = ()) -> Measured:
    """Divide the cases of the module `drawn` among the instruction sets and the extensions of the best one."""
    count = 30 if options.dry_run else int(options.arguments[0]) if options.arguments else cases
    best = cpu.status()["instruction_set"]
    if best is None:
        raise ValueError(f"{drawn}: expected the compiled operators, got {cpu.status()['reason']}")
    sets = (*cpu.INSTRUCTION_SETS[: cpu.INSTRUCTION_SETS.index(best) + 1], *extensions)
    if options.dry_run:
        sets = (best,)
    rows = []
    for index, name in enumerate(sets):
        command = [
            sys.executable,
            "-m",
            "benchmarks.correctness.operator_cases",
            drawn,
            name,
            str(index),
            str(count),
            str(len(sets)),
        ]
        environment = {**os.environ, "INVOLUTION_CPU": name, "OMP_WAIT_POLICY": "passive"}  # seven threads on few cores
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        rows += json.loads(done.stdout)
    wrong = sum(row["wrong"] for row in rows)
    notes = f"{wrong} of {count} cases are wrong. Errors are in units of what the dtype allows."
    return Measured(rows, {"cases": count, "wrong": wrong}, notes)


def check(module: str, name: str, first: int, count: int, step: int) -> list[dict[str, Any]]:
    """Check the cases first, first + step, ... below `count` on the instruction set in use, called `name`."""
    drawn = import_module(f"benchmarks.correctness.{module}")
    by_dtype: dict[str, list[tuple[Any, float]]] = defaultdict(list)
    for seed in range(first, count, step):
        case = drawn.draw(seed)
        by_dtype[case.dtype].append((case, max(drawn.errors(case).values())))
    return [
        {
            "instruction_set": name,
            "dtype": dtype,
            "cases": len(found),
            "wrong": sum(error > 1 for _, error in found),
            "largest_error": max(error for _, error in found),
            "wrong_cases": [drawn.describe(case) for case, error in found if error > 1][:5],
        }
        for dtype, found in sorted(by_dtype.items())
    ]


if __name__ == "__main__":
    drawn_in, called, *numbers = sys.argv[1:]
    print(json.dumps(check(drawn_in, called, *map(int, numbers))))
