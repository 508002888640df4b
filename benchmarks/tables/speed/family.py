"""The table of time and memory of the functions of `involution.family`."""

from __future__ import annotations

from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown, where

LEAST_MIB = 0.1
"""Memory is counted in pages: ratios to less than this are not shown."""


def family() -> str:
    """Return time and peak memory of each function and its rival, and the ratios."""
    record = load("speed/cpu/family")
    lines = []
    for case in dict.fromkeys(row["case"] for row in record.rows):
        ours, rival = (record.one(case=case, form=form) for form in ("family", "rival"))
        line = [case]
        for column, digits, least in (("median_ms", 2, 0.0), ("peak_memory_mib", 1, LEAST_MIB)):
            line += [f"{row[column]:.{digits}f}" for row in (ours, rival)]
            line.append(f"{rival[column] / ours[column]:.1f}" if ours[column] > least else "–")
        lines.append(line)
    header = ["function", "time, ms", "other, ms", "ratio", "memory, MiB", "other, MiB", "ratio"]
    return markdown(header, lines) + where(record, "float32", "medians")


BLOCKS = {"family": family}
