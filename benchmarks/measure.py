"""How anything here is timed and written down, whatever the device.

What is compared is timed in turns, so that a machine that slows down slows all of them. Medians are reported with the
spread of the middle half. Work on a GPU is timed by events on it, work on a CPU by the clock.
"""

from __future__ import annotations

import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
Work = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median of all samples and the quartiles around it."""

    median: float
    low: float
    high: float
    samples: int

    def record(self) -> dict[str, float]:
        """Return milliseconds, as they are written down."""
        return {"ms": 1e3 * self.median, "ms_low": 1e3 * self.low, "ms_high": 1e3 * self.high, "samples": self.samples}


class Budget:
    """Seconds that a suite may take; what does not fit any more is skipped and named."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.skipped: list[str] = []

    def left(self) -> float:
        """Return the seconds that remain."""
        return self.end - time.monotonic()

    def allows(self, name: str, seconds: float) -> bool:
        """Return whether `name`, which takes about `seconds`, still fits; if not, remember that it was skipped."""
        fits = seconds <= self.left()
        if not fits:
            self.skipped.append(name)
        return fits


def interleaved(
    works: Mapping[str, Work],
    device: torch.device,
    seconds: float = 0.5,
    least: int = 5,
    sample: float = 5e-3,
    warmup: int = 2,
) -> dict[str, Timing]:
    """Time all `works` in turns.

    Args:
        works: name → what is timed.
        device: whose time it is.
        seconds: how long each is timed, about.
        least: samples of each at the least.
        sample: calls shorter than this many seconds are timed several at once.
        warmup: calls of each before any is timed: caches are warm then and compilers have run.
    """
    calls, rounds = {}, least
    for name, work in works.items():
        for _ in range(warmup):
            work()
        once = max(_time(work, 1, device), 1e-7)
        calls[name] = max(1, round(sample / once))
        rounds = max(rounds, min(50, round(seconds / (once * calls[name]))))
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(_time(work, calls[name], device))
    return {name: _timing(times) for name, times in found.items()}


def _time(work: Work, calls: int, device: torch.device) -> float:
    """Return the mean seconds of `calls` calls in a row."""
    if device.type == "cuda":
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            work()
        stop.record()
        stop.synchronize()
        return 1e-3 * start.elapsed_time(stop) / calls
    begin = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - begin) / calls


def _timing(times: list[float]) -> Timing:
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(statistics.median(times), low, high, len(times))


def peak_memory(work: Work, device: torch.device) -> float:
    """Return how many MiB `work` takes at its peak above what is allocated before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts from now on
    except OSError:
        return float("nan")
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def machine(device: torch.device) -> dict[str, Any]:
    """Describe what ran: the device, the libraries, the commit and the command."""
    found: dict[str, Any] = {
        "command": " ".join(["python", *(str(part) for part in sys.argv)]),
        "commit": _output("git", "rev-parse", "HEAD"),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "torchvision", "timm", "triton")},
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "gpu_memory_gib": round(properties.total_memory / 2**30),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, one that a person can read and git can compare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
