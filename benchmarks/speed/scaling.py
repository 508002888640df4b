"""Time of the operators and of RedNet-50 by number of threads, batch size and image size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.shapes import STAGES, TINY, images, operands
from benchmarks.measuring.timing import Work, interleaved
from benchmarks.speed.entries import ENTRIES


def run(options: Options) -> Measured:
    """Time each series; its members take turns."""
    entry = ENTRIES["rednet26" if options.dry_run else "rednet50"]
    model = entry.build()
    with torch.no_grad():
        rows = [*_threads(options, model), *_batches(options, model), *_sizes(options, model)]
    return Measured(rows, {"network": entry.label, "dtype": "float32", "memory_format": "channels last"})


def _threads(options: Options, model: Callable[[Tensor], Tensor]) -> list[Row]:
    """Time one thread and all threads in turns, so that a change of clock rate affects both."""
    batch, size = (2, 32) if options.dry_run else (16, 224)
    t, x = operands(TINY if options.dry_run else STAGES[0], batch), images(batch, 3, size)
    span = (t["reduced"], t["weight"], None, t["groups"], t["window"], *t["geometry"])
    ops = torch.ops.involution
    every = torch.get_num_threads()
    rows: list[Row] = []
    works: dict[str, Work] = {
        "involution2d": lambda: ops.involution2d(t["x"], t["kernel"], *t["geometry"]),
        "involution2d_spanned": lambda: ops.involution2d_spanned(t["x"], *span),
        "network": lambda: model(x),
    }
    for name, work in works.items():

        def use(threads: int, work: Work = work) -> None:
            torch.set_num_threads(threads)
            work()  # wakes the threads

        turns = dict.fromkeys((1, every), work)
        seconds = 20.0 if name == "network" else 3.0
        times = interleaved(turns, options.device, **options.timing(seconds), before=use)
        rows += [
            {"work": name, "batch": batch, "threads": threads, **time.row(), "speedup": times[1].median / time.median}
            for threads, time in times.items()
        ]
    torch.set_num_threads(every)
    return rows


def _batches(options: Options, model: Callable[[Tensor], Tensor]) -> list[Row]:
    sizes = (2,) if options.dry_run else (4, 8, 16, 32, 64)
    size = 32 if options.dry_run else 224
    works: dict[int, Work] = {batch: partial(model, images(batch, 3, size)) for batch in sizes}
    times = interleaved(works, options.device, **options.timing(25.0))
    return [
        {
            "work": "batch",
            "batch": batch,
            "size_px": [size, size],
            **time.row(),
            "per_image_ms": 1e3 * time.median / batch,
        }
        for batch, time in times.items()
    ]


def _sizes(options: Options, model: Callable[[Tensor], Tensor]) -> list[Row]:
    shapes = [(1, 32, 64)] if options.dry_run else [(8, 224, 224), (1, 512, 1024)]
    inputs = {(b, h, w): torch.randn(b, 3, h, w).contiguous(memory_format=torch.channels_last) for b, h, w in shapes}
    works: dict[tuple[int, int, int], Work] = {shape: partial(model, x) for shape, x in inputs.items()}
    times = interleaved(works, options.device, **options.timing(10.0))
    return [
        {"work": "size", "batch": b, "size_px": [h, w], **time.row(), "per_pixel_ns": 1e9 * time.median / (b * h * w)}
        for (b, h, w), time in times.items()
    ]
