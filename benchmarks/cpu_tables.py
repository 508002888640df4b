"""The tables of speed on CPU."""

from __future__ import annotations

import json
from typing import Any

from complexity_tables import RESULTS, markdown

Record = dict[str, Any]


def measured(part: str) -> Record:
    """Return what speed.py measured in one part of the CPU suite."""
    record: Record = json.loads((RESULTS / f"measured/speed-{part}-cpu.json").read_text())
    return record


def where(record: Record) -> str:
    """Say where and how a record was measured."""
    names = ("processor", "threads", "instruction_set", "torch", "command")
    processor, threads, instruction_set, torch, command = (record[name] for name in names)
    return f"\n{processor}, {threads} threads, {instruction_set}, torch {torch}, float32, medians; `{command}`.\n"


def spread(row: Record) -> str:
    """Return a median with its quartiles."""
    return f"{row['ms']:.2f} ({row['ms_low']:.2f}–{row['ms_high']:.2f})"


def operator() -> str:
    """Return every operator at every stage: time, share of the peak, and the rivals as multiples of the forward."""
    record = measured("operator")
    ours = ("forward", "grad_x", "grad_kernel", "spanned", "spanned_backward")
    rivals = ("unfold", "unfold, compiled", "shifted sums, compiled")
    lines = [
        [
            stage,
            *(f"{spread(row[name])}, {100 * row[name]['of_peak']:.0f} %" for name in ours),
            *(f"{row[name]['ratio']:.1f}x" if name in row else "" for name in rivals),
        ]
        for stage, row in record["stages"].items()
    ]
    product, copy = record["limits"]["gmadds"], record["limits"]["copy_gb"]
    peak = f"\nPeak: {product:.0f} G multiply-adds/s in the best matrix product; copy: {copy:.0f} GB/s.\n"
    return markdown(["stage", *(f"{name}, ms" for name in ours), *rivals], lines) + peak + where(record)


def layer() -> str:
    """Return the layer against the 3x3 convolution that it replaces."""
    record = measured("layer")
    lines = []
    for stage, row in record["stages"].items():
        cells = [stage]
        for mode in ("inference", "training"):
            times = row[mode]
            cells += [
                spread(times["convolution"]),
                spread(times["involution"]),
                f"{times['involution']['ratio']:.2f}x",
            ]
        lines.append(cells)
    header = ["stage", "3x3, ms", "involution, ms", "ratio", "3x3, step, ms", "involution, step, ms", "ratio"]
    return markdown(header, lines) + where(record)


def network() -> str:
    """Return inference of whole networks, as times of ResNet-50's."""
    record = measured("network")
    modes = record["modes"]
    names = list(dict.fromkeys(name for mode in modes.values() for name in mode))
    lines = [
        [
            f"`{name}`",
            *(f"{row[name]['ms']:.0f} ms, {row[name]['ratio']:.2f}x" if name in row else "" for row in modes.values()),
        ]
        for name in names
    ]
    return markdown(["network", *modes], lines) + where(record)


BLOCKS = {
    "cpu-operator": operator,
    "cpu-layer": layer,
    "cpu-network": network,
}
