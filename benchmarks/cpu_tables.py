"""The tables of speed on CPU."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from complexity_tables import RESULTS, Row, key, markdown, published

Record = dict[str, Any]


def measured(part: str, suffix: str = "") -> Record:
    """Return what speed.py measured in one part of the CPU suite."""
    record: Record = json.loads((RESULTS / f"measured/speed-{part}-cpu{suffix}.json").read_text())
    return record


def where(record: Record) -> str:
    """Say where and how a record was measured."""
    names = ("processor", "threads", "instruction_set", "torch", "command")
    processor, threads, instruction_set, torch, command = (record[name] for name in names)
    return f"\n{processor}, {threads} threads, {instruction_set}, torch {torch}, float32, medians; `{command}`.\n"


def spread(row: Record) -> str:
    """Return a median with its quartiles."""
    return f"{row['ms']:.2f} ({row['ms_low']:.2f}–{row['ms_high']:.2f})"


def operator(suffix: str = "") -> str:
    """Return every operator at every stage: time, share of the peak, and the rivals as multiples of the forward."""
    record = measured("operator", suffix)
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


def network(suffix: str = "") -> str:
    """Return inference of whole networks: as times of ResNet-50's, and the share of the multiply-add peak."""
    record = measured("network", suffix)
    modes, madds = record["modes"], record["madds"]

    def cell(row: Record | None) -> str:
        if row is None:
            return ""
        share = f", {100 * row['of_peak']:.0f} %" if "of_peak" in row else ""
        return f"{row['ms']:.0f} ms, {row['ratio']:.2f}x{share}"

    lines = [
        [
            f"`{name}`",
            f"{madds[name] / 1e9:.2f}" if name in madds else "",
            *(cell(row.get(name)) for row in modes.values()),
        ]
        for name in dict.fromkeys(name for mode in modes.values() for name in mode)
    ]
    peak = f"\nPeak: {record['limits']['gmadds']:.0f} G multiply-adds/s.\n"
    return markdown(["network", "multiply-adds, G", *modes], lines) + peak + where(record)


def runtime() -> str:
    """Return the paper's Table 2 with a column of our own."""
    record = measured("runtime")
    rows = published("table2")
    first = rows[0]

    def line(row: Row) -> list[str]:
        ours = record["networks"][key(row)]
        theirs = f"{row['cpu'] / first['cpu']:.2f}x" if "cpu" in row else ""
        figures = (str(row.get(column, "")) for column in ("top1", "gpu", "cpu"))
        return [row["label"], *figures, theirs, spread(ours), f"{ours['ratio']:.2f}x"]

    header = ["network", "top-1, %", "GPU, ms", "CPU, ms", "to ResNet-50", "ours, CPU, ms", "to ResNet-50"]
    return markdown(header, map(line, rows)) + where(record)


def training() -> str:
    """Return time and peak memory of a training step."""
    record = measured("training")
    rows = record["networks"]
    lines = [
        [
            name,
            spread(row) if "ms" in row else "",
            f"{row['ratio']:.2f}x" if "ratio" in row else "",
            f"{row['peak_mib']:.0f}",
            f"{row['peak_mib'] / rows['resnet50']['peak_mib']:.2f}x",
        ]
        for name, row in rows.items()
    ]
    return markdown(["network", "step of 16 images, ms", "ratio", "peak memory, MiB", "ratio"], lines) + where(record)


def scaling() -> str:
    """Return how time goes with threads, batch and image size, and in bfloat16."""
    record, half = measured("scaling"), measured("dtype")
    threads = record["threads"]
    lines = [
        [f"{name}: speed-up of {threads} threads", f"{row['speedup']:.2f}"] for name, row in record["works"].items()
    ]
    lines += [[f"RedNet-50, ms an image at batch {batch}", f"{ms:.1f}"] for batch, ms in record["ms_per_image"].items()]
    lines += [[f"RedNet-50, ns a pixel at {size}", f"{ns:.0f}"] for size, ns in record["ns_per_pixel"].items()]
    lines += [["RedNet-50 in bfloat16, time to float32's", f"{half['times']['bfloat16']['ratio']:.2f}"]]
    lines += [["largest difference of its logits, to the largest logit", f"{half['largest_relative_error']:.3f}"]]
    return markdown(["measure", "value"], lines) + where(record)


BLOCKS = {
    "cpu-operator": operator,
    "cpu-operator-plain-malloc": partial(operator, "-plain-malloc"),
    "cpu-layer": layer,
    "cpu-network": network,
    "cpu-network-plain-malloc": partial(network, "-plain-malloc"),
    "runtime": runtime,
    "cpu-training": training,
    "cpu-scaling": scaling,
}
