"""The table of two versions side by side."""

from __future__ import annotations

from benchmarks.measuring.record import load
from benchmarks.measuring.shapes import STAGES
from benchmarks.tables.markdown import markdown, where


def against() -> str:
    """Return the time of every call now, relative to the time before."""
    record = load("speed/cpu/against")
    shapes = {stage.number: f"{stage.channels}x{stage.side}x{stage.side}" for stage in STAGES}
    columns = [(layout, batch) for layout in ("channels last", "NCHW") for batch in (1, 16)]
    lines = []
    for work, stage in dict.fromkeys((row["work"], row["stage"]) for row in record.rows):
        line = [work, shapes.get(stage, "")]
        for layout, batch in columns:
            found = record.all(work=work, stage=stage, memory_format=layout, batch=batch)
            line.append(
                "".join(f"{r['ratio']:.2f} ({r['lower_quartile']:.2f}–{r['upper_quartile']:.2f})" for r in found)
            )
        lines.append(line)
    header = ["call", "stage", *(f"{layout}, batch {batch}" for layout, batch in columns)]
    before = f"before: commit {record.settings['before']['commit'][:9]}, now: {(record.commit or '')[:9]}"
    turns = f"median (quartiles) of the ratios of {record.settings['turns']} turns"
    return markdown(header, sorted(lines, key=lambda line: line[0]), 2) + where(record, "float32", before, turns)


BLOCKS = {"against": against}
