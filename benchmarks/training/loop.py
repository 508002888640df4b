"""Images per second of the training loop, of a bare loop on cached tensors, and of the loader alone.

    python -m benchmarks run training-loop -- --folder PATH

The loop has the loggers and callbacks of `involution fit`. The bare loop has the same network and optimizer, and
batches that are already normalized. The two take turns. ImageNet is made of images of the real size. The record is
training/training-loop.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch.nn import functional as F

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.training.made_data import MADE
from involution.cli.lightning.progress import Throughput
from involution.cli.lightning.recipe import loggers, quiet
from involution.data import DataModule, Digits, ImageNet, Synthetic
from involution.tasks import Classification, CosinePerEpoch

TURNS, WARM_UP, CACHED = 2, 3, 4
PREFETCHED, LOADED = 4, 40  # batches of the loader: those that its workers had made before, and those that are timed


class Clock(Callback):
    """Record when every batch ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append(time.perf_counter())


def run(options: Options) -> Measured:
    """Measure both cases, or a tiny one in a dry run."""
    quiet()
    parser = argparse.ArgumentParser(prog="python -m benchmarks run training-loop --", description="Measure loops.")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for the made images")
    parser.add_argument("--cases", nargs="+", choices=["digits", "imagenet"], default=["digits", "imagenet"])
    given = parser.parse_args(list(options.arguments))
    if options.dry_run:
        row = measure("rednet26", Synthetic(8, 5, batch_size=4, images=40), {"stem_stride": 1}, steps=4, turns=1)
        return Measured([row])
    rows = []
    if "digits" in given.cases:
        data: DataModule = Digits(size=16, batch_size=64)
        rows.append({"case": "digits", **measure("rednet26", data, {"stem_stride": 1}, steps=20)})
    if "imagenet" in given.cases:
        images = given.folder / "images/imagenet"
        if not images.exists():
            MADE["imagenet"](images)
        rows.append({"case": "imagenet", **measure("rednet50", ImageNet(str(images), batch_size=16), {}, steps=8)})
    return Measured(rows, {"turns": TURNS, "warm_up_steps": WARM_UP})


def measure(network: str, data: DataModule, options: dict[str, Any], steps: int, turns: int = TURNS) -> Row:
    """Return images per second of the three, and the ratio of the loops."""
    transform = data.eval_transform
    sizes = {name: getattr(transform, name) for name in ("resize", "crop", "channels")}

    def task() -> Classification:
        torch.manual_seed(0)
        return Classification(
            network,
            data.classes,
            sizes,
            label_smoothing=0.1,
            optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
            schedule=CosinePerEpoch(0, 1.0),
            options=options,
        )

    cached = list(islice(cycle(data.train_dataloader()), CACHED))
    loops: dict[str, Callable[[], list[float]]] = {
        "loop": lambda: trained(task(), data, steps),
        "bare": lambda: bare(task(), cached, steps),
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(turns):
        for name, loop in loops.items():
            ends = loop()
            times[name] += [after - before for before, after in pairwise(ends)][WARM_UP - 1 :]
    rates = {f"{name}_images_per_s": data.batch_size / median(found) for name, found in times.items()}
    ratio = rates["loop_images_per_s"] / rates["bare_images_per_s"]
    loader = loaded(data)
    return {"network": network, "batch": data.batch_size, **rates, "ratio": ratio, "loader_images_per_s": loader}


def trained(task: Classification, data: DataModule, steps: int) -> list[float]:
    """Train as `involution fit` does; return the times at which the batches ended."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=100,
            max_steps=steps,
            limit_val_batches=0,
            logger=loggers(Path(folder)),
            callbacks=[Throughput(), clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, data)
    return clock.times


def bare(task: Classification, batches: list[Any], steps: int) -> list[float]:
    """Train on cached batches; return the times at which they ended."""
    network = task.net.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    cached = [(task.normalize(batch.images), batch.labels) for batch in batches]
    times = []
    for images, labels in islice(cycle(cached), steps):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels, label_smoothing=0.1).backward()
        optimizer.step()
        times.append(time.perf_counter())
    return times


def loaded(data: DataModule) -> float:
    """Return images per second of the loader alone, after its first batches."""
    found = iter(data.train_dataloader())
    for _ in islice(found, PREFETCHED):
        pass
    start, images = time.perf_counter(), 0
    for batch in islice(found, LOADED):
        images += len(batch.images)
    return images / (time.perf_counter() - start)
