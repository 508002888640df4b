"""Tables of parameters and arithmetic: what was published beside what we count, with a reason where they differ."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
PUBLISHED = RESULTS / "published.toml"
COUNTS = RESULTS / "measured/complexity.json"
CONTROLS = [f"rednet{depth}{kind}" for depth in (26, 38, 50, 101, 152) for kind in ("", "_depthwise", "_inverted")]

Row = dict[str, Any]


def published(table: str) -> list[Row]:
    """Return the rows of a table of results/published.toml."""
    return tomllib.loads(PUBLISHED.read_text())[table]["rows"]


def key(row: Row) -> str:
    """Name the network of a row with its arguments, as in results/measured/complexity.json."""
    settings = {**row.get("arguments", {}), **({"input_size": row["input_size"]} if "input_size" in row else {})}
    return " ".join([row["model"], *(f"{name}={value}" for name, value in settings.items())])


def counted(row: Row) -> Row:
    """Return our counts for a row, params, without the frozen ones, in millions and the others in G."""
    found = json.loads(COUNTS.read_text())[key(row)]
    params = found.get("trainable_params", found["params"])
    return {"params": params / 1e6, "flops": found["published_flops"] / 1e9, "macs": found["macs"] / 1e9}


def printed(value: float, decimals: int) -> str:
    """Round half up to two decimals and then, for one, again: the rule of the paper's tables."""
    rounded = Decimal(repr(value)).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return str(rounded.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def differs(row: Row, column: str) -> bool:
    """Whether our count is not what was printed."""
    claim = str(row[column])
    return printed(counted(row)[column], len(claim.partition(".")[2])) != claim


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Return a table whose first columns are text and whose others are figures."""
    rule = [*["---"] * text_columns, *["---:"] * (len(header) - text_columns)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, rule, *rows])


def classification() -> str:
    """Return the RedNets: published and our counts, published accuracy."""
    header = ["model", "params, M (published)", "FLOPs, G (published)", "multiply-adds, G", "published top-1, %"]

    def line(row: Row) -> list[str]:
        ours = counted(row)
        params, flops = (f"{printed(ours[column], 2)} ({row[column]:.2f})" for column in ("params", "flops"))
        return [f"`{row['model']}`", params, flops, f"{ours['macs']:.2f}", f"{row['top1']:.2f}"]

    return markdown(header, map(line, published("readme")))


def comparison(*tables: str) -> str:
    """Return published and our counts side by side; where they differ, the number of a reason below the table."""
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
    """Return RedNet and its twins of equal budget: depthwise convolutions in its blocks, inverted bottlenecks."""

    def line(name: str) -> list[str]:
        ours, rednet = counted({"model": name}), counted({"model": name.partition("_")[0]})
        share = [f"{100 * (ours[column] / rednet[column] - 1):+.1f} %" for column in ("params", "macs")]
        return [f"`{name}`", f"{ours['params']:.2f}", share[0], f"{ours['macs']:.3f}", share[1]]

    return markdown(["name", "params, M", "to RedNet", "multiply-adds, G", "to RedNet"], map(line, CONTROLS))


def modern() -> str:
    """Return the networks of timm to which the critic compares."""

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
    "controls": controls,
    "modern": modern,
}
