"""The paper's Table 3: detectors on COCO, what was published beside what we count."""

from __future__ import annotations

from collections.abc import Callable

from complexity_tables import Row, counted, differs, markdown, published


def detection() -> str:
    """Return detectors with the average precision that was published, and both counts of trainable parameters."""

    def line(row: Row) -> list[str]:
        ours = counted(row)
        counts = [_beside(row, column, ours[column]) for column in ("params", "flops")]
        arguments = ", ".join(f"{name}={value!r}" for name, value in row.get("arguments", {}).items())
        name = f"`{row['model']}`" + (f" ({arguments})" if arguments else "")
        claimed = [str(row.get(column, "")) for column in ("box", "mask")]
        return [row["label"], name, *counts[0], *counts[1], f"{ours['macs']:.3f}", *claimed]

    header = ["detector", "name", "params, M", "ours", "FLOPs, G", "ours", "multiply-adds, G, ours", "box AP", "mask AP"]
    return markdown(header, map(line, published("detection")), text_columns=2)


def _beside(row: Row, column: str, ours: float) -> list[str]:
    """Return a claim and our count; the tests allow no difference between the two."""
    if column not in row:
        return ["", f"{ours:.3f}"]
    return [f"{row[column]:.1f}", f"{ours:.3f} {'≠' if differs(row, column) else '='}"]


BLOCKS: dict[str, Callable[[], str]] = {"detection": detection}
