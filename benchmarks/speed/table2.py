"""The networks of the paper's Table 2, with the settings of the paper: one image, float32, eager."""

from __future__ import annotations

import timm
import torch

import involution.models  # noqa: F401  (registers the networks)
from benchmarks.measuring.options import Measured, Options
from benchmarks.measuring.steps import Case, work
from benchmarks.measuring.timing import interleaved
from benchmarks.tables.published import key, published


def run(options: Options) -> Measured:
    """Time inference for each row of the table."""
    rows = published("table2")[-1:] if options.dry_run else published("table2")
    case = Case(1, "float32", "eager", "inference", 32 if options.dry_run else 224)
    works = {}
    for row in rows:
        torch.manual_seed(0)
        model = timm.create_model(row["model"], **row.get("arguments", {})).eval()
        model = model.to(options.device).to(memory_format=torch.channels_last)
        works[key(row)] = work(model, case, options.device)
    times = interleaved(works, options.device, **options.timing(30.0))
    first = next(iter(times.values()))
    found = [
        {"network": name, **case.row(), **time.row(), "ratio": time.median / first.median}
        for name, time in times.items()
    ]
    return Measured(found, {"reference": next(iter(times))})
