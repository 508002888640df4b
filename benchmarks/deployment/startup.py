"""The time of a fresh process to its first answer: RedNet-50 as it is, prepared, and compiled."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from typing import Any

import timm
import torch

import involution.models  # registers the networks
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.process import in_new_process
from benchmarks.measuring.shapes import images
from benchmarks.measuring.steps import FROZEN

CACHED = "compiled, its kernels in Inductor's cache"


def run(options: Options) -> Measured:
    """Start a process for every sample. The first compiled one finds an empty cache, the next one fills no more."""
    network, size = ("rednet26", 32) if options.dry_run else ("rednet50", 224)
    samples = {"eager": 3, "prepared": 3, "compiled": 1, CACHED: 1}
    if options.dry_run:
        samples = {"eager": 1}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as cache:
        for form, count in samples.items():
            if not options.budget.allows(form, 120.0 if form.startswith("compiled") else 10.0):
                continue
            found = [in_new_process(__name__, "seconds", form, network, size, cache) for _ in range(count)]
            columns = [statistics.median(column) for column in zip(*found, strict=True)]
            rows.append({"form": form, "built_s": columns[0], "answered_s": columns[1], "samples": count})
    return Measured(rows, {"network": network, "batch": 1, "size_px": size})


def seconds(form: str, name: str, size: int, cache: str) -> list[float]:
    """Return the seconds to build the network, and from there to its first answer. Imports are done before."""
    begin = time.perf_counter()
    network: Any = timm.create_model(name).eval().to(memory_format=torch.channels_last)
    x = images(1, 3, size)
    built = time.perf_counter()
    with torch.no_grad():
        if form == "prepared":
            network = involution.models.prepare(network)
        elif form.startswith("compiled"):
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
            network = torch.compile(network, fullgraph=True, dynamic=False, options={**FROZEN})
        network(x)
    return [built - begin, time.perf_counter() - built]
