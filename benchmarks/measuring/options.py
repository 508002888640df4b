"""What a benchmark is told, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.measuring.timing import Budget

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How a benchmark is run.

    Attributes:
        target: the device that is measured, "cpu" or "cuda".
        device: what computes: the target, or the CPU in a dry run on a machine without a GPU.
        dry_run: use tiny shapes, one sample and no compiler. The figures mean nothing and are not written.
        budget: limits the time; what does not fit is skipped and named in the record.
        arguments: those after `--` on the command line, which belong to the benchmark.
    """

    target: str
    device: torch.device
    dry_run: bool
    budget: Budget
    arguments: Sequence[str] = ()

    def timing(self, seconds: float) -> dict[str, Any]:
        """Return the arguments of `interleaved` for about `seconds` of samples."""
        return {"seconds": 0.0, "least": 1, "sample": 0.0, "warmup": 0} if self.dry_run else {"seconds": seconds}


@dataclass(frozen=True)
class Measured:
    """What a benchmark found: rows of figures, and the settings that hold for all of them.

    `variant` distinguishes several records of one benchmark, for example one per recipe; it is part of the file name.
    """

    rows: list[Row]
    settings: Row = field(default_factory=dict)
    notes: str | None = None
    variant: str | None = None
