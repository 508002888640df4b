"""The table of time and memory of local attention."""

from __future__ import annotations

from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown, where


def local_attention() -> str:
    """Return time and peak memory of both forms of each network, and the ratios."""
    record = load("speed/cpu/local-attention")
    lines = []
    for network in dict.fromkeys(row["network"] for row in record.rows):
        ours, unfold = (record.one(network=network, form=form) for form in ("operator", "unfold"))
        line = [f"`{network}`"]
        for column in ("median_ms", "peak_memory_mib"):
            line += [f"{row[column]:.0f}" for row in (ours, unfold)] + [f"{unfold[column] / ours[column]:.1f}"]
        lines.append(line)
    header = ["network", "time, ms", "unfold, ms", "ratio", "memory, MiB", "unfold, MiB", "ratio"]
    return markdown(header, lines) + where(record, f"batch {record.settings['batch']}", "float32", "medians")


BLOCKS = {"local-attention": local_attention}
