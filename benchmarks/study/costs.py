"""Parameters, multiply-adds and measured time of the networks of a study.

    python -m benchmarks run study-costs -- benchmarks/study/tiny_imagenet_50.yaml

One thread, and all networks in turns, so that the figures can be compared. The record is study/CONFIG/costs.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import involution.models  # noqa: F401  (registers the networks in timm)
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.steps import Case, work
from benchmarks.measuring.timing import Work, interleaved
from benchmarks.study.plan import read
from involution.models.counting.complexity import profile

CONFIG = Path("benchmarks/study/tiny_imagenet_50.yaml")
CLASSES, SIZE, BATCH, SECONDS = 50, 64, 50, 30.0


def run(options: Options) -> Measured:
    """Measure every network; one that cannot take the images is a row with the error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run study-costs --", description="Measure networks.")
    parser.add_argument("config", type=Path, nargs="?", default=CONFIG, help="YAML file of the study")
    given = parser.parse_args(list(options.arguments))
    plan = read(given.config)
    torch.set_num_threads(plan.recipe.threads)
    batch = 2 if options.dry_run else BATCH
    cases = {task: Case(batch, "float32", "eager", task, SIZE) for task in ("inference", "training")}
    rows: list[Row] = []
    works: dict[tuple[int, str], Work] = {}
    for label, network in plan.networks.items():
        row: Row = {"label": label, **network}
        rows.append(row)
        try:
            counts = profile(network["network"], (SIZE, SIZE), num_classes=CLASSES, **network["options"])
            row |= {"params": counts["params"], "macs": counts["macs"]}
            for task, case in cases.items():
                step = work(_network(network, options), case, options.device)
                step()
                works[len(rows) - 1, task] = step
        except (ValueError, RuntimeError) as error:
            row["error"] = " ".join(str(error).split())
    for task in cases:
        chosen = {key: step for key, step in works.items() if key[1] == task}
        for (index, _), timing in interleaved(chosen, options.device, **options.timing(SECONDS)).items():
            rows[index] |= {f"{task}_{name}": value for name, value in timing.row().items()}
    settings: Row = {"config": str(given.config), "batch": batch, "size_px": SIZE, "threads": plan.recipe.threads}
    return Measured(rows, settings, variant=f"{given.config.stem}/costs")


def _network(row: dict[str, Any], options: Options) -> nn.Module:
    network: nn.Module = timm.create_model(row["network"], num_classes=CLASSES, **row["options"])
    return network.eval().to(options.device).to(memory_format=torch.channels_last)
