"""Tables of training: the first steps of the recipes, the speed of the loop, and one and two processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.measuring.options import Row
from benchmarks.measuring.record import Record, load
from benchmarks.tables.markdown import markdown, where

RECIPES = (
    "imagenet",
    "cityscapes_fpn",
    "cityscapes_upernet",
    "coco_retinanet",
    "coco_faster_rcnn",
    "coco_mask_rcnn",
    "coco_mask_rcnn-returning-memory",
)
ENDS = 5
RECORDED = {
    "memory after a step, MiB": "resident_mib",
    "peak in a step, MiB": "peak_mib",
    "mask proposals": "mask_proposals",
}


def steps() -> str:
    """Return loss and memory of the first and the last steps of each recipe."""
    records = [load(f"training/{name}") for name in RECIPES]

    def line(record: Record) -> list[str]:
        name, rows = Path(record.settings["config"]).stem, record.rows
        figures = [_ends(rows, "loss", _mean), *(_ends(rows, field, _largest) for field in RECORDED.values())]
        place = f"{record.machine['processor']}, {record.machine['allocator']}, torch {record.versions['torch']}"
        return [f"`{name}`", str(len(rows)), *figures, place]

    header = ["recipe", "steps", "loss", *RECORDED, "processor and allocator"]
    command = records[0].command
    return (
        markdown(header, map(line, records))
        + f"\nFirst {ENDS} steps → last {ENDS}, two processes of one thread, one record per run. `{command}`\n"
    )


def _ends(rows: list[Row], field: str, figure: Callable[[list[Any]], str]) -> str:
    """Return the figure of the first and of the last steps in which the field was recorded."""
    values = [row[field] for row in rows if field in row]
    return f"{figure(values[:ENDS])} → {figure(values[-ENDS:])}" if values else "–"


def _largest(values: list[list[int]]) -> str:
    return str(max(map(max, values)))


def _mean(values: list[float]) -> str:
    """Format a mean with its standard error."""
    return f"{mean(values):.2f} ± {stdev(values) / len(values) ** 0.5:.2f}"


def loop() -> str:
    """Return images per second of the training loop, of a bare loop, and of the loader."""
    record = load("training/training-loop")

    def line(row: Row) -> list[str]:
        rates = [f"{row[f'{name}_images_per_s']:.1f}" for name in ("loop", "bare", "loader")]
        return [row["case"], f"`{row['network']}`", str(row["batch"]), *rates, f"{row['ratio']:.2f}"]

    header = ["data", "network", "batch", "loop, images/s", "bare loop", "loader alone", "loop / bare loop"]
    return markdown(header, map(line, record.rows), text_columns=2) + where(record)


def processes() -> str:
    """Return metrics and duration of the same training with one and with two processes."""
    record = load("training/processes")

    def line(row: Row) -> list[str]:
        return [
            str(row["processes"]),
            f"{100 * row['test/top1']:.1f}",
            f"{row['test/loss']:.3f}",
            f"{row['duration_s']:.0f}",
        ]

    header = ["processes", "top-1, %", "test loss", "duration, s"]
    return markdown(header, map(line, record.rows)) + where(record)


BLOCKS: dict[str, Callable[[], str]] = {"recipe-steps": steps, "training-loop": loop, "processes": processes}
