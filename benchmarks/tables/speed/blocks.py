"""Where the time of the prepared network is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.measuring.options import Row
from benchmarks.tables.markdown import markdown, where
from benchmarks.tables.speed.cpu import measured


def blocks(dtype: str) -> str:
    """Return the time of every part of the prepared network beside its bound; equal blocks are one line."""
    record = measured("blocks")
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in record.all(dtype=dtype):
        stage, _, block = str(row["part"]).partition(".")
        alike.setdefault((stage, "first" if block == "0" else "each other" if block else ""), []).append(row)
    lines = [
        [
            " ".join([*key, *([f"({len(rows)})"] if len(rows) > 1 else [])]),
            f"{mean(rows, 'macs') / 1e9:.2f}",
            f"{mean(rows, 'moved_bytes') / 1e6:.0f}",
            f"{mean(rows, 'median_ms'):.1f}",
            f"{mean(rows, 'bound_ms'):.1f}",
            f"{100 * mean(rows, 'bound_ms') / mean(rows, 'median_ms'):.0f} %",
        ]
        for key, rows in alike.items()
    ]
    whole = [sum(row[column] for row in record.all(dtype=dtype)) for column in ("macs", "median_ms", "bound_ms")]
    total = [
        "all",
        f"{whole[0] / 1e9:.1f}",
        "",
        f"{whole[1]:.0f}",
        f"{whole[2]:.0f}",
        f"{100 * whole[2] / whole[1]:.0f} %",
    ]
    header = ["part", "multiply-adds, G", "bytes moved, M", "time, ms", "bound, ms", "bound / time"]
    at = record.settings["limits"]["macs_per_s"][dtype]
    limits = f"\nThe bound is the larger of the multiply-adds at {at / 1e9:.0f} G/s and the bytes at "
    limits += f"{record.settings['limits']['copy_bytes_per_s'] / 1e9:.0f} GB/s.\n"
    name, batch = record.settings["network"], record.settings["batch"]
    return markdown(header, [*lines, total]) + limits + where(record, name, dtype, f"batch {batch}", "medians")


def mean(rows: list[Row], column: str) -> float:
    """Return the mean of a column."""
    return float(sum(row[column] for row in rows) / len(rows))


BLOCKS: dict[str, Callable[[], str]] = {
    "cpu-blocks": partial(blocks, "float32"),
    "cpu-blocks-bfloat16": partial(blocks, "bfloat16"),
}
