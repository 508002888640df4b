"""Markdown tables, and the line below a table that describes the measurement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.measuring.options import Row
from benchmarks.measuring.record import Record


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Return a table with text in the first columns and figures in the others."""
    rule = [*["---"] * text_columns, *["---:"] * (len(header) - text_columns)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, rule, *rows])


def spread(row: Row) -> str:
    """Format a median with its quartiles."""
    return f"{row['median_ms']:.2f} ({row['lower_quartile_ms']:.2f}–{row['upper_quartile_ms']:.2f})"


def where(record: Record, *details: str) -> str:
    """Return the line below a table: machine, libraries, command, and further notes."""
    machine = record.machine
    threads = f"{machine['threads']} threads" if machine["threads"] else None
    allocator = f"allocator: {machine['allocator']}" if machine["allocator"] else None
    place = [machine["gpu"] or machine["processor"] or machine["architecture"], threads, machine["instruction_set"]]
    words = [word for word in (*place, allocator, f"torch {record.versions['torch']}", *details) if word]
    return f"\n{', '.join(words)}. `{record.command}`\n"
