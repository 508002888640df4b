"""A training step: forward, backward, and SGD with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch

from benchmarks.measuring.memory import peak_memory_mib
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.peak import limits
from benchmarks.measuring.process import in_new_process, in_own_process
from benchmarks.measuring.steps import Case, work
from benchmarks.measuring.timing import Work, interleaved
from benchmarks.speed.entries import ENTRIES
from benchmarks.speed.networks import PAIR, REFERENCE, compare, cuda_plan, rows_of

STORED = "rednet50, stored kernels"
SECONDS = 140.0
TURNS: Row = {"sample": 4.0, "warmup": 0}
"""Each turn of a network is a new process, which takes about this many seconds of steps after two untimed ones.

In one process, each network would change what the other's allocations cost. That also differs from process to process.
"""


def run(options: Options) -> Measured:
    """Time the steps. On CPU, every turn of a network is a process."""
    settings: Row = {"reference": REFERENCE, "optimizer": "SGD with momentum"}
    if options.target == "cuda":
        plan = cuda_plan("training")
        if options.dry_run:
            plan = [(PAIR, Case(2, "float32", "eager", "training", 32))]
        return Measured(list(compare(plan, options, limits(options), SECONDS)), settings)
    size, batch = (32, 2) if options.dry_run else (224, 16)
    case = Case(batch, "float32", "eager", "training", size)
    rows = _on_cpu(PAIR, case, options)
    if not options.dry_run:
        rows.append({"network": STORED, **case.row()})
    for row in rows:
        measure = memory if options.dry_run else lambda *pair: in_new_process(__name__, "memory", *pair)
        row["peak_memory_mib"] = measure(row["network"], batch, size)
    return Measured(rows, settings | {"processes": "one per turn", "turn_s": TURNS["sample"]})


def _on_cpu(networks: Sequence[str], case: Case, options: Options) -> list[Row]:
    running: list[Work] = []  # the step of the network whose turn it is
    with ExitStack() as process:

        def start(network: str) -> None:
            process.close()
            arguments = (network, case.batch, case.size)
            if options.dry_run:
                running[:] = [step(*arguments)]
            else:
                running[:] = [process.enter_context(in_own_process(__name__, "step", *arguments))]
                for _ in range(2):
                    running[0]()

        works = dict.fromkeys(networks, lambda: running[0]())
        times = interleaved(works, options.device, before=start, **(TURNS | options.timing(SECONDS)))
    return list(rows_of(case, times, {}, {}))


def step(network: str, batch: int, size: int) -> Work:
    """Return a training step of a network."""
    case = Case(batch, "float32", "eager", "training", size)
    return work(ENTRIES[network].build(), case, torch.device("cpu"))


def memory(network: str, batch: int, size: int) -> float:
    """Return the peak memory of two training steps in MiB above the untrained network and its images."""
    once = step(network, batch, size)
    return peak_memory_mib(lambda: [once() for _ in range(2)], torch.device("cpu"))
