"""Where the time of the prepared network is, and that of a training step."""

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


def training_parts() -> str:
    """Return the time of the parts of a training step of both networks beside their bounds."""
    record = measured("training-parts", "cpu-keeping-memory")
    names = list(dict.fromkeys(str(row["network"]) for row in record.rows))
    lines = []
    for part in dict.fromkeys(str(row["part"]) for row in record.rows):
        rows = [record.one(network=name, part=part) for name in names]
        cells = [[f"{row['best_ms']:.0f}", f"{row['bound_ms']:.0f}" if row["bound_ms"] else ""] for row in rows]
        lines.append([part, *(cell for pair in cells for cell in pair)])
    header = ["part", *(f"`{name}`, {what}" for name in names for what in ("ms", "bound, ms"))]
    limit = record.settings["limits"]
    limits = f"\nBounds are multiply-adds at {limit['macs_per_s']['float32'] / 1e9:.0f} G/s or bytes at "
    limits += f"{limit['copy_bytes_per_s'] / 1e9:.0f} GB/s. Each column is the fastest of its steps.\n"
    return markdown(header, lines) + limits + where(record, "float32", f"batch {record.settings['batch']}")


def mean(rows: list[Row], column: str) -> float:
    """Return the mean of a column."""
    return float(sum(row[column] for row in rows) / len(rows))


BLOCKS: dict[str, Callable[[], str]] = {
    "cpu-blocks": partial(blocks, "float32"),
    "cpu-blocks-bfloat16": partial(blocks, "bfloat16"),
    "cpu-training-parts": training_parts,
}
