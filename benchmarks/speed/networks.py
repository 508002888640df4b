"""Inference time of networks. Networks of one regime take turns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from benchmarks.gpu.switch import on_tensor_cores, tensor_cores
from benchmarks.measuring.memory import peak_memory_mib
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.peak import limits, share
from benchmarks.measuring.steps import FROZEN, MODES, Case, work
from benchmarks.measuring.timing import Work, interleaved
from benchmarks.speed.entries import ENTRIES
from involution.models.counting.complexity import profile

REFERENCE = "resnet50"
"""Every time is also given as a multiple of this network's, in the same regime."""

PAIR = ("resnet50", "rednet50")
ON_GPU = (*PAIR, "rednet50, tensor cores", "convnext_nano")
OTHERS = ("rednet26", "rednet38", "rednet101", "resnet101")
MODERN = ("convnext_nano", "regnetx_032", "mobilenetv2_140")
UNFOLD = ("rednet50, unfold, channels last", "rednet50, unfold, NCHW")
Plan = Sequence[tuple[Sequence[str], Case]]


def cpu_plan() -> Plan:
    """Return the regimes on CPU, most informative first."""
    labels: dict[str, Sequence[str]] = {"eager": (*PAIR, "rednet50, prepared", *MODERN)}
    labels["compiled"] = (*PAIR, "rednet50, prepared", "rednet50, prepared, not compiled", *MODERN)
    plan: list[tuple[Sequence[str], Case]] = [
        (labels[mode], Case(batch, dtype, mode, "inference"))
        for mode, dtype, batch in itertools.product(("eager", "compiled"), ("float32", "bfloat16"), (1, 16))
        if (mode, dtype) != ("eager", "bfloat16")
    ]
    plan += [((REFERENCE, *OTHERS), Case(batch, "float32", "eager", "inference")) for batch in (1, 16)]
    return plan + [((REFERENCE, *UNFOLD), Case(batch, "float32", "eager", "inference")) for batch in (1, 16)]


def cuda_plan(task: str) -> Plan:
    """Return the regimes on GPU, most informative first."""
    first = [Case(256, "bfloat16", mode, task) for mode in ("graph", "eager", "compiled")]
    regimes = itertools.product(("eager", "graph", "compiled"), ("bfloat16", "float32"), (1, 32, 256))
    rest = [case for mode, dtype, batch in regimes if (case := Case(batch, dtype, mode, task)) not in first]
    order = [*first, *sorted(rest, key=lambda case: case.mode == "compiled")]
    return [*((ON_GPU, case) for case in order), *(((REFERENCE, *OTHERS), case) for case in order)]


def run(options: Options) -> Measured:
    """Time inference."""
    settings: Row = {"reference": REFERENCE, "modes": MODES, "limits": limits(options)}
    if options.target == "cpu":
        settings["compiled_with"] = FROZEN
    plan = cpu_plan() if options.target == "cpu" else cuda_plan("inference")
    if options.dry_run:
        plan = [(("resnet26", "rednet26"), Case(2, "float32", mode, "inference", 32)) for mode in ("eager", "compiled")]
    return Measured(list(compare(plan, options, settings["limits"])), settings)


def compare(plan: Plan, options: Options, limit: Row, seconds: float = 12.0) -> Iterator[Row]:
    """Yield one row per network for each case within the budget: time, relative time, multiply-adds, memory.

    Memory is measured on GPU only, where no separate process is needed.
    """
    for labels, case in plan:
        name = f"{case}: {', '.join(labels)}"
        if not options.budget.allows(name, len(labels) * case.seconds(options.device)):
            continue
        torch.compiler.reset()
        works: dict[str, Work] = {}
        memory: dict[str, float] = {}
        for label in labels:
            entry = ENTRIES[label]
            dtype = case.dtype if case.task == "inference" else "float32"
            with tensor_cores(entry.tensor_cores):  # a graph keeps the programs of its recording
                regime = case if entry.compiles else replace(case, mode="eager")
                works[label] = work(entry.build(dtype, options.device), regime, options.device, options.dry_run)
            if entry.tensor_cores:
                works[label] = on_tensor_cores(works[label])
            if options.device.type == "cuda" and case.mode != "graph":
                works[label]()
                memory[label] = peak_memory_mib(works[label], options.device)
        yield from rows_of(case, interleaved(works, options.device, **options.timing(seconds)), memory, limit)
        works.clear()
        if options.device.type == "cuda":
            torch.cuda.empty_cache()


def rows_of(case: Case, times: dict[str, Any], memory: dict[str, float], limit: Row) -> Iterator[Row]:
    """Yield one row per network of a case, from its times."""
    reference = times.get(REFERENCE, next(iter(times.values())))
    for label, found in times.items():
        row = {"network": label, **case.row(), **found.row(), "ratio": found.median / reference.median}
        row |= {"images_per_s": case.batch / found.median, "peak_memory_mib": memory.get(label)}
        if case.task == "inference":
            macs = case.batch * macs_of(ENTRIES[label].model, case.size)
            row |= {"macs": macs, "of_macs_limit": share(limit, macs, case.dtype, found.median)}
        yield row


@cache
def macs_of(model: str, size: int) -> int:
    """Count the multiply-adds of one image."""
    return int(profile(model, (size, size))["macs"])
