"""The options and the result of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring.timing import Budget

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Options of a benchmark run.

    Attributes:
        target: the device that is measured, "cpu" or "cuda".
        device: the device that computes: the target, or the CPU in a dry run on a machine without a GPU.
        dry_run: use tiny shapes, one sample and no compiler. The figures are meaningless and are not written.
        budget: time limit. Cases that do not fit are skipped and named in the record.
        arguments: arguments of the benchmark itself, after `--` on the command line.
        out: folder of the records; a benchmark with many of them leaves out what is there.
    """

    target: str
    device: torch.device
    dry_run: bool
    budget: Budget
    arguments: Sequence[str] = ()
    out: Path = Path()

    def timing(self, seconds: float) -> dict[str, Any]:
        """Return the arguments of `interleaved` for about `seconds` of samples."""
        return {"seconds": 0.0, "least": 1, "sample": 0.0, "warmup": 0} if self.dry_run else {"seconds": seconds}


@dataclass(frozen=True)
class Measured:
    """Result of a benchmark: rows of figures, and the settings that hold for all rows.

    `variant` distinguishes the records of one benchmark, for example one per recipe. It is part of the file name.
    """

    rows: list[Row]
    settings: Row = field(default_factory=dict)
    notes: str | None = None
    variant: str | None = None
