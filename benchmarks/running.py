"""Run benchmarks and write their records."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.measuring import allocator
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.record import MEASURED, SCHEMA, Record, commit, machine, versions
from benchmarks.measuring.timing import Budget
from benchmarks.registry import Benchmark

PRIVATE = ("--root", "--data.root", "--ckpt_path", "--checkpoint", "--out", "--folder", "--state", "--before")
"""Options whose values are paths of this machine, which a record does not name."""


def run(
    benchmarks: Sequence[Benchmark],
    target: str,
    words: Sequence[str],
    dry_run: bool,
    budget: float,
    allocation: str,
    out: Path | None,
    arguments: Sequence[str],
    resume: bool = False,
    within: float | None = None,
) -> None:
    """Run each benchmark and write its record at once. A dry run writes nothing.

    Args:
        benchmarks: benchmarks to run, in this order.
        target: "cpu" or "cuda".
        words: the command line, for the record.
        dry_run: run all cases with tiny shapes.
        budget: time limit of each benchmark in seconds.
        allocation: a key of `allocator.SETTINGS`.
        out: folder of the records.
        arguments: arguments of the benchmark itself.
        resume: skip benchmarks whose record was written for this commit and device.
        within: seconds after which no benchmark may run; those that could are not started.

    Raises:
        ValueError: there is no GPU.
    """
    if target == "cuda" and not torch.cuda.is_available() and not dry_run:
        raise ValueError("--device: expected a GPU that PyTorch sees, got none; --dry-run goes without")
    allocator.restart_with(allocation)
    device = torch.device("cuda" if target == "cuda" and torch.cuda.is_available() else "cpu")
    total = Budget(math.inf if within is None else within)
    for benchmark in benchmarks:
        if resume and _recorded((out or MEASURED) / place(benchmark, machine(device), None)):
            print(f"{benchmark.name}: recorded before")
            continue
        if not total.allows(benchmark.name, budget):
            print(f"{benchmark.name}: not started, {budget:.0f} s do not fit")
            continue
        limit = Budget(budget)
        measured = benchmark.run(Options(target, device, dry_run, limit, tuple(arguments), out or MEASURED))
        for found in [measured] if isinstance(measured, Measured) else measured:
            outcome = f"{benchmark.name}: {len(found.rows)} rows in {budget - limit.left():.0f} s"
            if dry_run:
                print(f"{outcome}; dry run, nothing written")
                continue
            head, dirty = commit()
            record = Record(
                SCHEMA,
                benchmark.name,
                command(words),
                head,
                dirty,
                machine(device),
                versions(device),
                found.settings,
                limit.skipped,
                found.notes,
                found.rows,
            )
            path = (out or MEASURED) / place(benchmark, record.machine, found.variant)
            record.write(path)
            print(f"{outcome}; written: {path}; skipped: {', '.join(limit.skipped) or 'nothing'}", flush=True)


def _recorded(path: Path) -> bool:
    """Return whether there is a record of the current commit."""
    return path.exists() and Record.read(path).commit == commit()[0]


def command(words: Sequence[str]) -> str:
    """Return the command line for a record, without the paths of this machine."""
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, _ = word.partition("=")
        shown.append("PATH" if before in PRIVATE else f"{option}=PATH" if equals and option in PRIVATE else word)
    return shlex.join(["python", "-m", "benchmarks", *shown])


def place(benchmark: Benchmark, described: Row, variant: str | None) -> Path:
    """Return the path of a record below results/measured. Speed records have a folder per device and allocator."""
    name = variant or benchmark.name
    if benchmark.folder != "speed":
        return Path(benchmark.folder, f"{name}.json")
    gpu = re.sub(r"[^a-z0-9]+", "-", (described["gpu"] or "").lower())
    cpu = next(setting.folder for setting in allocator.SETTINGS.values() if setting.name == described["allocator"])
    return Path(benchmark.folder, gpu or cpu, f"{name}.json")
