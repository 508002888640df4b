"""Peak memory of a function."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

from benchmarks.measuring.timing import Work


def peak_memory_mib(work: Work, device: torch.device) -> float:
    """Return the peak memory of `work` in MiB above what was allocated before; NaN if the system does not report it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        reset_peak()
    except OSError:
        return float("nan")
    resident = resident_mib("VmRSS")
    work()
    return resident_mib("VmHWM") - resident


def resident_mib(field: str) -> float:
    """Return a field of /proc/self/status in MiB: VmRSS, or VmHWM for its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def reset_peak() -> None:
    """Let VmHWM count from now on; `OSError` if the system is not Linux."""
    Path("/proc/self/clear_refs").write_text("5")
