"""Read the folder of a finished run of `involution fit`."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.accuracy.recipe import involution
from benchmarks.measuring.options import Row


def arguments(words: Sequence[str], name: str) -> tuple[list[Path], str]:
    """Parse the folders of runs and the folder of the images."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks run {name} --", description="Test finished runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders that `involution fit` wrote")
    parser.add_argument("--root", required=True, help="folder of the images")
    given = parser.parse_args(words)
    return given.runs, given.root


def config(run: Path) -> dict[str, Any]:
    """Return the configuration of a run."""
    return dict(yaml.safe_load((run / "config.yaml").read_text()))


def tested(run: Path, root: str, checkpoint: str) -> Row:
    """Test a checkpoint of a run."""
    found = run / "checkpoints" / checkpoint
    return involution("test", f"--config={run / 'config.yaml'}", f"--data.root={root}", f"--checkpoint={found}")


def duration_s(run: Path) -> int:
    """Return the seconds between the first and the last logged value."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    times = [event.wall_time for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    return round(max(times) - min(times))


def curve(run: Path, names: Sequence[str]) -> list[dict[str, float]]:
    """Return the values logged at the end of each epoch."""
    epochs: dict[int, dict[str, float]] = {}
    with (run / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            found = {name: round(float(row[name]), 4) for name in names if row.get(name)}
            if found:
                epochs.setdefault(int(row["epoch"]), {}).update(found)
    return [{"epoch": epoch + 1, **found} for epoch, found in sorted(epochs.items())]
