"""A training step: forward, backward, and SGD with momentum."""

from __future__ import annotations

import torch

from benchmarks.measuring.memory import in_new_process, peak_memory_mib
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.peak import limits
from benchmarks.measuring.steps import Case, work
from benchmarks.speed.entries import ENTRIES
from benchmarks.speed.networks import PAIR, REFERENCE, compare, cuda_plan

STORED = "rednet50, stored kernels"


def run(options: Options) -> Measured:
    """Time the steps. On CPU, measure the memory of each network in a separate process."""
    case = Case(16, "float32", "eager", "training")
    if options.dry_run:
        case = Case(2, "float32", "eager", "training", 32)
    plan = cuda_plan("training") if options.target == "cuda" and not options.dry_run else [(PAIR, case)]
    settings: Row = {"reference": REFERENCE, "optimizer": "SGD with momentum"}
    rows = list(compare(plan, options, limits(options) if options.target == "cuda" else {"macs_per_s": {}}, 40.0))
    if options.target == "cpu":
        if not options.dry_run:
            rows.append({"network": STORED, **case.row()})
        for row in rows:
            row["peak_memory_mib"] = _memory(row["network"], case, options.dry_run)
    return Measured(rows, settings)


def _memory(network: str, case: Case, here: bool) -> float:
    if here:
        return memory(network, case.batch, case.size)
    return float(in_new_process("benchmarks.training.step", "memory", network, case.batch, case.size))


def memory(network: str, batch: int, size: int) -> float:
    """Return the peak memory of two training steps in MiB above the untrained network and its images."""
    cpu = torch.device("cpu")
    step = work(ENTRIES[network].build(), Case(batch, "float32", "eager", "training", size), cpu)
    return peak_memory_mib(lambda: [step() for _ in range(2)], cpu)
