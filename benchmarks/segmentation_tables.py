"""Tables of semantic segmentation: the paper's Table 4, our runs on CamVid, and memory."""

from __future__ import annotations

import json
from collections.abc import Callable

from complexity_tables import RESULTS, Row, counted, differs, markdown, published

CAMVID = "results/measured/segmentation-camvid.json"
MEMORY = "results/measured/segmentation-memory-cpu.json"


def segmentation() -> str:
    """Return published figures on Cityscapes and both counts of parameters and FLOPs."""

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
    record = json.loads((RESULTS.parent / CAMVID).read_text())
    rows = record["rows"]
    classes = [name.removeprefix("test/iou/") for name in rows[0] if name.startswith("test/iou/")]
    figures = {"mean IoU": "test/miou", "pixel accuracy": "test/accuracy"} | {c: f"test/iou/{c}" for c in classes}

    def line(name: str) -> list[str]:
        return [name, *(f"{100 * row[figures[name]]:.1f}" if figures[name] in row else "" for row in rows)]

    table = markdown(["%", *(f"`{row['model']}`" for row in rows)], map(line, figures))
    minutes = " and ".join(f"{row['seconds'] / 60:.0f}" for row in rows)
    first = rows[0]
    where = f"{first['epochs']} epochs, {first['precision']}, {minutes} minutes on {record['processor']}, "
    return f"{table}\n{where}{record['threads']} threads shared with other work; `{record['command']}`.\n"


def memory() -> str:
    """Return what inference takes on an image of 1024 x 2048 pixels."""
    record = json.loads((RESULTS.parent / MEMORY).read_text())
    rows = [
        [f"`{row['model']}`", *(f"{row[f'{form}_mib']}" for form in ("whole", "windows"))] for row in record["rows"]
    ]
    window = " x ".join(map(str, record["window"]))
    table = markdown(["segmentor", "whole image, MiB", f"windows of {window}, MiB"], rows)
    return f"{table}\n{record['processor']}, torch {record['torch']}, float32; `{record['command']}`.\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "segmentation": segmentation,
    "camvid": camvid,
    "segmentation-memory": memory,
}
