"""Tables of training: the first steps of the recipes, the speed of the loop, and one and two processes."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean, stdev

from benchmarks.measuring.options import Row
from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown, where

RECIPES = (
    "imagenet",
    "cityscapes_fpn",
    "cityscapes_upernet",
    "coco_retinanet",
    "coco_faster_rcnn",
    "coco_mask_rcnn",
)
ENDS = 5


def steps() -> str:
    """Return loss and memory of the first and the last steps of each recipe."""
    records = {name: load(f"training/{name}") for name in RECIPES}
    lines = []
    for name, record in records.items():
        losses = [_mean([row["loss"] for row in part]) for part in _ends(record.rows)]
        memory = [_largest(part, "resident_mib") for part in _ends(record.rows)]
        peaks = [_largest(part, "peak_mib") for part in _ends([row for row in record.rows if "peak_mib" in row])]
        place = f"{record.machine['processor']}, torch {record.versions['torch']}"
        lines.append([f"`{name}`", str(len(record.rows)), *losses, *memory, *peaks, place])
    names = ("loss", "memory after a step, MiB", "peak in a step, MiB")
    header = [column for name in names for column in (f"{name}, first {ENDS}", f"last {ENDS}")]
    command = records["imagenet"].command
    return (
        markdown(["recipe", "steps", *header, "processor"], lines)
        + f"\nTwo processes of one thread, one record per recipe. `{command}`\n"
    )


def _ends(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    return rows[:ENDS], rows[-ENDS:]


def _largest(rows: list[Row], field: str) -> str:
    return str(max(max(row[field]) for row in rows)) if rows else "–"


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
