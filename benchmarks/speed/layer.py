"""The layer and the 3x3 convolution that it replaces: forward, and forward with backward."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.gpu.switch import TENSOR_CORES, on_tensor_cores
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.shapes import STAGES, TINY, WINDOW, images
from benchmarks.measuring.timing import Work, interleaved
from involution import Involution2d

REFERENCE = "Conv2d 3x3"


def run(options: Options) -> Measured:
    """Time both layers for each stage and dtype."""
    settings = {"window": WINDOW, "batch": 2 if options.dry_run else 256 if options.target == "cuda" else 16}
    return Measured(list(_rows(options, settings["batch"])), settings)


def _rows(options: Options, largest: int) -> Iterator[Row]:
    stages = (TINY,) if options.dry_run else STAGES
    dtypes = ["bfloat16", "float32"] if options.target == "cuda" else ["float32"]
    gpu = options.target == "cuda" and not options.dry_run
    for batch, dtype, stage in itertools.product((256, 32, 1) if gpu else (largest,), dtypes, stages):
        if not options.budget.allows(f"{dtype}, stage {stage.number}" + (f", batch {batch}" if gpu else ""), 10):
            continue
        x = images(batch, stage.channels, stage.side, dtype=getattr(torch, dtype), device=options.device)
        layers: dict[str, nn.Module] = {
            REFERENCE: nn.Conv2d(stage.channels, stage.channels, 3, padding=1, bias=False),
            "Involution2d": Involution2d(stage.channels, WINDOW),
        }
        for task in ("forward", "forward and backward"):
            works = {name: _work(layer.to(x.device, x.dtype), x, task) for name, layer in layers.items()}
            if options.target == "cuda":
                works[f"Involution2d, {TENSOR_CORES}"] = on_tensor_cores(works["Involution2d"])
            times = interleaved(works, options.device, **options.timing(1.5 if gpu else 4.0))
            for name, found in times.items():
                row = {"layer": name, "stage": stage.number, "channels": stage.channels, "side": stage.side}
                row["batch"] = batch
                ratio = found.median / times[REFERENCE].median
                yield {**row, "dtype": dtype, "task": task, **found.row(), "ratio": ratio}


def _work(layer: nn.Module, x: Tensor, task: str) -> Work:
    layer.to(memory_format=torch.channels_last)
    leaf = x.clone().requires_grad_()

    def forward() -> Tensor:
        with torch.no_grad():
            return layer.eval()(x)

    def there_and_back() -> tuple[Tensor, ...]:
        return torch.autograd.grad(layer.train()(leaf).sum(), [leaf, *layer.parameters()])

    return forward if task == "forward" else there_and_back
