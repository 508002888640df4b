"""RedNet-50 in bfloat16 and float32: time, and difference of the logits."""

from __future__ import annotations

import torch

from benchmarks.measuring.options import Measured, Options
from benchmarks.measuring.shapes import images
from benchmarks.measuring.timing import interleaved
from benchmarks.speed.entries import ENTRIES


def run(options: Options) -> Measured:
    """Time both dtypes in turns, and compare the logits."""
    entry = ENTRIES["rednet26" if options.dry_run else "rednet50"]
    batch, size = (2, 32) if options.dry_run else (16, 224)
    x = images(batch, 3, size)
    wide, narrow = entry.build("float32"), entry.build("bfloat16")
    with torch.no_grad():
        works = {"float32": lambda: wide(x), "bfloat16": lambda: narrow(x.bfloat16())}
        times = interleaved(works, options.device, **options.timing(10.0))
        expected, got = wide(x), narrow(x.bfloat16()).float()
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    reference = times["float32"].median
    rows = [{"dtype": dtype, **found.row(), "ratio": found.median / reference} for dtype, found in times.items()]
    settings = {"network": entry.label, "batch": batch, "size_px": size, "reference": "float32"}
    return Measured(rows, {**settings, "largest_error_of_logits": error, "relative_to": "the largest logit"})
