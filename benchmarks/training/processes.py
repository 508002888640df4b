"""Train the digits to the end with one process and with two, with the same images per step.

    python -m benchmarks run processes

The record is training/processes.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.record import ROOT

PER_STEP = 64


def run(options: Options) -> Measured:
    """Train and test both."""
    settings: Row = {"config": "configs/digits.yaml", "images_per_step": PER_STEP, "threads": 2}
    return Measured([] if options.dry_run else [measure(1), measure(2)], settings)


def measure(processes: int) -> Row:
    """Return the test metrics and the duration of the training."""
    with tempfile.TemporaryDirectory() as folder:
        fitted = involution(
            processes, "fit", f"--data.batch_size={PER_STEP // processes}", f"--trainer.default_root_dir={folder}"
        )
        tested = involution(1, "test", f"--checkpoint={fitted['checkpoint']}")
    return {"processes": processes, "duration_s": round(fitted["seconds"], 1), **tested}


def involution(processes: int, command: str, *arguments: str) -> Row:
    """Run a command in some processes, which share two threads; return what it prints."""
    program = [sys.executable, "-m"]
    if processes > 1:
        program += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    words = ["involution", command, "digits", "--trainer.accelerator=cpu", f"--trainer.devices={processes}", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(2 // processes)}
    done = subprocess.run(
        [*program, *words, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))
