"""Tables of parameters and arithmetic: published values and our counts, with the reasons for differences."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

from benchmarks.measuring.options import Row
from benchmarks.tables.markdown import markdown
from benchmarks.tables.published import CONTROLS, PUBLISHED, counted, differs, printed, published


def classification() -> str:
    """Return the table of the RedNets: published counts, our counts, and published accuracy."""
    header = ["model", "params, M (published)", "FLOPs, G (published)", "multiply-adds, G", "published top-1, %"]

    def line(row: Row) -> list[str]:
        ours = counted(row)
        params, flops = (f"{printed(ours[column], 2)} ({row[column]:.2f})" for column in ("params", "flops"))
        return [f"`{row['model']}`", params, flops, f"{ours['macs']:.2f}", f"{row['top1']:.2f}"]

    return markdown(header, map(line, published("readme")))


def comparison(*tables: str) -> str:
    """Return published counts and our counts. Differences refer to a numbered reason below the table."""
    texts, reasons = tomllib.loads(PUBLISHED.read_text())["notes"], []

    def mark(row: Row, column: str) -> str:
        reason = row.get(f"{column}_note")
        if differs(row, column) != (reason is not None):
            raise ValueError(f"{column}_note: expected one where counts differ and only there, got {reason} for {row}")
        if reason is None:
            return "="
        if reason not in reasons:
            reasons.append(reason)
        return f"≠ [{reasons.index(reason) + 1}]"

    def line(row: Row) -> list[str]:
        ours = counted(row)
        arguments = ", ".join(f"{name}={value!r}" for name, value in row.get("arguments", {}).items())
        return [
            row["label"],
            f"`{row['model']}`" + (f" ({arguments})" if arguments else ""),
            f"{row['params']:.1f}",
            f"{ours['params']:.3f} {mark(row, 'params')}",
            f"{row['flops']:.1f}",
            f"{ours['flops']:.3f} {mark(row, 'flops')}",
            f"{ours['macs']:.3f}",
            f"{row['top1']:.1f}",
        ]

    header = ["network", "name", "params, M", "ours", "FLOPs, G", "ours", "multiply-adds, G, ours", "top-1, %"]
    body = markdown(header, [line(row) for table in tables for row in published(table)], text_columns=2)
    return body + "".join(f"\n[{number}] {texts[reason]}\n" for number, reason in enumerate(reasons, 1))


def controls() -> str:
    """Return RedNet and the controls of equal budget: depthwise convolutions in its blocks, inverted bottlenecks."""

    def line(name: str) -> list[str]:
        ours, rednet = counted({"model": name}), counted({"model": name.partition("_")[0]})
        share = [f"{100 * (ours[column] / rednet[column] - 1):+.1f} %" for column in ("params", "macs")]
        return [f"`{name}`", f"{ours['params']:.2f}", share[0], f"{ours['macs']:.3f}", share[1]]

    return markdown(["name", "params, M", "to RedNet", "multiply-adds, G", "to RedNet"], map(line, CONTROLS))


def modern() -> str:
    """Return the networks of timm for comparison."""

    def line(row: Row) -> list[str]:
        ours = counted(row)
        size = str(row.get("input_size", [224])[0])
        return [
            row["label"],
            f"`{row['model']}`",
            f"{ours['params']:.2f}",
            f"{ours['macs']:.3f}",
            size,
            f"{row['top1']:.2f}",
        ]

    header = ["family", "name.recipe in timm", "params, M", "multiply-adds, G", "size", "top-1, %"]
    return markdown(
        header, map(line, sorted(published("modern"), key=lambda row: counted(row)["macs"])), text_columns=2
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "classification": classification,
    "table1": lambda: comparison("table1", "patchwise"),
    "ablation": lambda: comparison("ablation"),
    "lsnet": lambda: comparison("lsnet"),
    "controls": controls,
    "modern": modern,
}
