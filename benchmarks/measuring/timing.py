"""Timing on all devices.

Functions that are compared are timed in turns, so that a slowdown of the machine affects all of them. The median is
reported with the quartiles. GPU work is timed with events, CPU work with the clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

Work = Callable[[], object]
Name = TypeVar("Name")


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median, quartiles and minimum of all samples."""

    median: float
    low: float
    high: float
    best: float
    samples: int

    def row(self) -> dict[str, float]:
        """Return the columns of a record."""
        quartiles = {"lower_quartile_ms": 1e3 * self.low, "upper_quartile_ms": 1e3 * self.high}
        return {"median_ms": 1e3 * self.median, **quartiles, "samples": self.samples}


class Budget:
    """Time budget of a benchmark in seconds. Cases that do not fit are skipped and named."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.skipped: list[str] = []

    def left(self) -> float:
        """Return the seconds that remain."""
        return self.end - time.monotonic()

    def allows(self, name: str, seconds: float) -> bool:
        """Return whether `name`, which takes about `seconds`, still fits. If not, add it to the skipped cases."""
        fits = seconds <= self.left()
        if not fits:
            self.skipped.append(name)
        return fits


def interleaved(
    works: Mapping[Name, Work],
    device: torch.device,
    seconds: float = 5.0,
    least: int = 3,
    most: int = 50,
    sample: float = 5e-3,
    warmup: int = 2,
    before: Callable[[Name], object] | None = None,
) -> dict[Name, Timing]:
    """Time all `works` in turns.

    Args:
        works: functions to time, by name.
        device: device that is timed.
        seconds: approximate total time of all samples.
        least: minimum number of samples of each.
        most: maximum number of samples of each.
        sample: minimum duration of a sample in seconds; shorter calls are repeated within a sample.
        warmup: number of untimed calls of each at the start, which fill caches and run compilers.
        before: called with the name before each sample, not timed.
    """
    prepare = before or (lambda name: None)
    calls, total = {}, 0.0
    for name, work in works.items():
        prepare(name)
        for _ in range(warmup):
            work()
        once = max(_time(work, 1, device), 1e-7)
        calls[name] = max(1, round(sample / once))
        total += once * calls[name]
    rounds = max(least, min(most, round(seconds / total)))
    found: dict[Name, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            prepare(name)
            found[name].append(_time(work, calls[name], device))
    return {name: _timing(times) for name, times in found.items()}


def _time(work: Work, calls: int, device: torch.device) -> float:
    """Return the mean seconds of `calls` consecutive calls."""
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
    low, median, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else 3 * times
    return Timing(median, low, high, min(times), len(times))
