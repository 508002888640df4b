"""The table of the first steps of the recipes."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean

from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown, where

RECIPES = ("imagenet", "cityscapes_fpn", "coco_retinanet", "coco_faster_rcnn", "coco_mask_rcnn")
ENDS = 5


def steps() -> str:
    """Return loss and memory of the first and the last steps of each recipe."""
    lines = []
    for name in RECIPES:
        rows = load(f"training/{name}").rows
        first, last = rows[:ENDS], rows[-ENDS:]
        losses = [f"{mean(row['loss'] for row in part):.2f}" for part in (first, last)]
        memory = [str(max(max(row["resident_mib"]) for row in part)) for part in (first, last)]
        lines.append([f"`{name}`", str(len(rows)), *losses, *memory])
    record = load(f"training/{RECIPES[0]}")
    header = ["recipe", "steps", f"loss, first {ENDS}", f"last {ENDS}", f"memory, MiB, first {ENDS}", f"last {ENDS}"]
    return markdown(header, lines) + where(record, "two processes", "one record per recipe")


BLOCKS: dict[str, Callable[[], str]] = {"recipe-steps": steps}
