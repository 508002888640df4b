"""How evenly the work is divided among more threads than this machine has.

Threads that share a core take longer, but each is busy for as long as its share of the work takes. With as many cores,
the longest share would be the time of the call, as long as the memory keeps up. It includes halos, which are rows that
two threads read and kernels that two threads compute, and the waking of the other threads.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import timm
import torch

import involution.models
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.shapes import STAGES, TINY, Stage, images, operands
from benchmarks.measuring.timing import Work

THREADS = (2, 8, 32, 64)
BATCHES = (1, 16)
TASKS = Path("/proc/self/task")


def run(options: Options) -> Measured:
    """Measure the longest share of every number of threads, relative to the work of one thread."""
    stages, batches, repeats = ((TINY,), (1,), 2) if options.dry_run else (STAGES, BATCHES, 30)
    every = torch.get_num_threads()
    rows: list[Row] = []
    for stage in stages:
        for batch in batches:
            for name, work in _works(stage, batch, options.dry_run):
                whole = longest_share(work, 1, repeats)
                for threads in THREADS:
                    share = longest_share(work, threads, repeats)
                    at = {"stage": stage.number, "batch": batch, "work": name, "threads": threads}
                    rows.append({**at, "longest_ms": 1e3 * share, "speedup": whole / share})
    torch.set_num_threads(every)
    return Measured(rows, {"dtype": "float32", "repeats": repeats})


def _works(stage: Stage, batch: int, dry_run: bool) -> Iterator[tuple[str, Work]]:
    t, ops = operands(stage, batch), torch.ops.involution
    span = (t["reduced"], t["weight"], t["bias"], t["groups"], t["window"], *t["geometry"])
    yield "involution", partial(ops.involution2d_spanned, t["x"], *span)
    yield "involution, backward", partial(ops.involution2d_spanned_backward, t["grad"], t["x"], *span)
    wide, weight = images(batch, 4 * stage.channels, stage.side), torch.randn(stage.channels, 4 * stage.channels, 1, 1)
    yield "1x1 convolution", partial(ops.pointwise_conv, wide, weight)
    gradients = partial(ops.pointwise_conv_backward, t["grad"], wide, weight, None, 1, [True, True])
    yield "1x1 convolution, backward", gradients
    if not dry_run:
        network = involution.models.prepare(timm.create_model("rednet50").eval())
        yield "prepared block", torch.no_grad()(partial(network.get_submodule(f"layer{stage.number}.1"), wide))


def longest_share(work: Work, threads: int, repeats: int) -> float:
    """Return the seconds that the busiest thread of a call works, in the least disturbed of some calls."""
    torch.set_num_threads(threads)
    for _ in range(5):
        work()
    found = []
    for _ in range(repeats):
        begin, here = _busy(), time.thread_time()
        work()
        here = time.thread_time() - here
        found.append(max([here, *(seconds - begin.get(task, 0) for task, seconds in _busy().items())]))
    return min(found)


def _busy() -> dict[str, float]:
    """Return the seconds that each other thread of this process has run."""
    found = {}
    for task in TASKS.iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended
            if task.name != str(threading.get_native_id()):
                found[task.name] = 1e-9 * int((task / "schedstat").read_text().split()[0])
    return found
