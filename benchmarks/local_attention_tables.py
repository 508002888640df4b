"""The table of time and memory of local attention."""

from __future__ import annotations

import json

from complexity_tables import RESULTS, markdown

MEASURED = RESULTS / "measured/local-attention-infer-fp32-batch4-cpu.json"


def local_attention() -> str:
    """Return time and peak memory of both forms of every network, and their ratios."""
    record = json.loads(MEASURED.read_text())
    found = {(row["model"], row["form"]): row for row in record["rows"]}
    lines = []
    for model in dict.fromkeys(row["model"] for row in record["rows"]):
        ours, unfold = found[model, "operator"], found[model, "unfold"]
        line = [f"`{model}`"]
        for column, digits in (("seconds", 2), ("mebibytes", 0)):
            line += [
                f"{ours[column]:.{digits}f}",
                f"{unfold[column]:.{digits}f}",
                f"{unfold[column] / ours[column]:.1f}",
            ]
        lines.append(line)
    header = ["network", "time, s", "unfold, s", "ratio", "memory, MiB", "unfold, MiB", "ratio"]
    torch, threads, processor = (record[name] for name in ("torch", "threads", "processor"))
    where = f"{processor}, {threads} threads, torch {torch}; batch 4, float32, median; `{record['command']}`."
    return f"{markdown(header, lines)}\n{where}\n"


BLOCKS = {"local-attention": local_attention}
