"""A training step: forward, backward, and SGD with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

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
SECONDS = 40.0
TURN = 4.0
"""Least seconds of a turn. Between the turns of a network, the system clears or returns the memory that it freed: a
turn has several steps, as training has."""


def run(options: Options) -> Measured:
    """Time the steps. On CPU, every network has a process of its own."""
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
    return Measured(rows, settings | {"processes": "one per network", "turn_s": TURN})


def _on_cpu(networks: Sequence[str], case: Case, options: Options) -> list[Row]:
    with ExitStack() as stack:

        def own(*arguments: Any) -> Work:
            return stack.enter_context(in_own_process(__name__, "step", *arguments))

        works = {name: (step if options.dry_run else own)(name, case.batch, case.size) for name in networks}
        times = interleaved(works, options.device, **({"sample": TURN} | options.timing(2 * SECONDS)))
    return list(rows_of(case, times, {}, {}))


def step(network: str, batch: int, size: int) -> Work:
    """Return a training step of a network."""
    case = Case(batch, "float32", "eager", "training", size)
    return work(ENTRIES[network].build(), case, torch.device("cpu"))


def memory(network: str, batch: int, size: int) -> float:
    """Return the peak memory of two training steps in MiB above the untrained network and its images."""
    once = step(network, batch, size)
    return peak_memory_mib(lambda: [once() for _ in range(2)], torch.device("cpu"))
