"""The tests of the operators on a GPU, which replaces Triton's interpreter, and NVIDIA's check of memory accesses.

python -m benchmarks run gpu-tests --device cuda
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import Any

from benchmarks.measuring.options import Measured, Options
from benchmarks.measuring.record import ROOT

FILES = ("tests/ops/test_cuda_values.py", "tests/ops/band", "tests/ops/test_cuda.py")
SANITIZED = "tests/ops/band tests/ops/test_cuda_values.py -k on_a_gpu[1] or dtypes"


def run(options: Options) -> Measured:
    """Run the tests in processes; a dry run asks pytest for its version."""
    if options.dry_run:
        return Measured([tests([sys.executable, "-m", "pytest", "--version"], 100)])
    rows = []
    for file in FILES:
        if options.budget.allows(file, 20):
            command = [sys.executable, "-m", "pytest", "-q", "-n", f"{min(os.cpu_count() or 1, 8)}", file]
            rows.append(tests(command, options.budget.left()))
    tool = shutil.which("compute-sanitizer")
    if tool and options.budget.allows("compute-sanitizer", 60):
        files, _, selected = SANITIZED.partition(" -k ")
        command = [tool, "--error-exitcode", "9", sys.executable, "-m", "pytest", "-q", *files.split(), "-k", selected]
        rows.append(tests(command, options.budget.left()))
    return Measured(rows, notes=None if tool else "compute-sanitizer is not installed.")


def tests(command: list[str], seconds: float) -> dict[str, Any]:
    """Run pytest; return the numbers of tests by outcome, and what failed."""
    words = " ".join(command[command.index("pytest") :])
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {"command": words, "status": "stopped at the time limit"}
    outcomes = re.findall(r"(\d+) (passed|failed|skipped|errors?|tests? collected)", done.stdout)
    counts = {name: int(number) for number, name in outcomes}
    failed = re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)
    return {"command": words, "status": done.returncode, **counts, "failures": failed}
