"""Tables of object detection: the paper's Table 3, and our run on pedestrians."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measuring.options import Row
from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown, where
from benchmarks.tables.published import counted, differs, published

FIGURES = {"ap50": "AP50", "ap": "AP", "ap75": "AP75", "ap_medium": "medium", "ap_large": "large", "ar100": "AR"}


def detection() -> str:
    """Return detectors with published average precision, and published and our counts of trainable parameters."""

    def line(row: Row) -> list[str]:
        ours = counted(row)
        counts = [_beside(row, column, ours[column]) for column in ("params", "flops")]
        arguments = ", ".join(f"{name}={value!r}" for name, value in row.get("arguments", {}).items())
        name = f"`{row['model']}`" + (f" ({arguments})" if arguments else "")
        claimed = [str(row.get(column, "")) for column in ("box", "mask")]
        return [row["label"], name, *counts[0], *counts[1], f"{ours['macs']:.3f}", *claimed]

    header = [
        "detector",
        "name",
        "params, M",
        "ours",
        "FLOPs, G",
        "ours",
        "multiply-adds, G, ours",
        "box AP",
        "mask AP",
    ]
    return markdown(header, map(line, published("detection")), text_columns=2)


def _beside(row: Row, column: str, ours: float) -> list[str]:
    """Return a published value and our count. The tests require them to be equal."""
    if column not in row:
        return ["", f"{ours:.3f}"]
    return [f"{row[column]:.1f}", f"{ours:.3f} {'≠' if differs(row, column) else '='}"]


def pennfudan() -> str:
    """Return COCO's metrics on the pedestrians, for boxes and masks, in %."""
    record = load("accuracy/pennfudan")
    run = record.rows[0]
    rows = [[kind, *(f"{100 * run[f'test/{kind}_{figure}']:.1f}" for figure in FIGURES)] for kind in ("box", "mask")]
    duration = f"{run['duration_s'] / 60:.0f} minutes on a machine shared with other work"
    return markdown(["%", *FIGURES.values()], rows) + where(record, f"{run['epochs']} epochs", duration)


BLOCKS: dict[str, Callable[[], str]] = {"detection": detection, "pennfudan": pennfudan}
