"""Tables of semantic segmentation: the paper's Table 4, our runs on CamVid, and memory."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measuring.options import Row
from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown, where
from benchmarks.tables.published import counted, differs, published


def segmentation() -> str:
    """Return published metrics on Cityscapes, and published and our counts of parameters and FLOPs."""

    def line(row: Row) -> list[str]:
        ours = counted(row)
        counts = []
        for column in ("params", "flops"):
            mark = "" if column not in row else "≠" if differs(row, column) else "="
            counts += [str(row.get(column, "")), f"{ours[column]:.3f} {mark}".rstrip()]
        figures = [str(row.get(column, "")) for column in ("miou", "released", "wall", "truck", "bus")]
        return [row["label"], f"`{row['model']}`", *counts, f"{ours['macs']:.3f}", *figures]

    header = ["segmentor", "name", "params, M", "ours", "FLOPs, G", "ours", "multiply-adds, G, ours"]
    header += ["mean IoU, %", "released", "wall", "truck", "bus"]
    return markdown(header, map(line, published("segmentation")), text_columns=2)


def camvid() -> str:
    """Return mean IoU, accuracy and the IoU of every class of both networks, in %."""
    record = load("accuracy/camvid")
    rows = record.rows
    classes = [name.removeprefix("test/iou/") for name in rows[0] if name.startswith("test/iou/")]
    figures = {"mean IoU": "test/miou", "pixel accuracy": "test/accuracy"} | {c: f"test/iou/{c}" for c in classes}

    def line(name: str) -> list[str]:
        return [name, *(f"{100 * row[figures[name]]:.1f}" if figures[name] in row else "" for row in rows)]

    table = markdown(["%", *(f"`{row['model']}`" for row in rows)], map(line, figures))
    minutes = " and ".join(f"{row['duration_s'] / 60:.0f}" for row in rows)
    duration = f"{minutes} minutes on a machine shared with other work"
    return table + where(record, f"{rows[0]['epochs']} epochs", rows[0]["precision"], duration)


def memory() -> str:
    """Return the memory of inference on an image of 1024 x 2048 pixels."""
    record = load("memory/segmentation-memory")
    rows = [[f"`{row['model']}`", *(f"{row[f'{form}_mib']}" for form in ("whole", "windows"))] for row in record.rows]
    window = " x ".join(map(str, record.settings["window_px"]))
    return markdown(["segmentor", "whole image, MiB", f"windows of {window}, MiB"], rows) + where(record, "float32")


BLOCKS: dict[str, Callable[[], str]] = {
    "segmentation": segmentation,
    "camvid": camvid,
    "segmentation-memory": memory,
}
