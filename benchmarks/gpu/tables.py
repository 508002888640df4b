"""Tables of docs/gpu.md: bytes and multiply-adds of the operators, and instruction counts of the machine code."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measuring.record import MEASURED, load
from benchmarks.measuring.shapes import STAGES, WINDOW
from benchmarks.tables.markdown import markdown

BATCH, ITEM = 256, 2

# NVIDIA's data sheet of the H200 SXM, without sparsity. A multiply-add counts as two operations there.
MEMORY = 4.8e12  # bytes a second
VECTOR = 67e12 / 2  # multiply-adds a second, float32
MATRIX = 989e12 / 2  # multiply-adds a second, bfloat16


def least() -> str:
    """Count bytes and multiply-adds of one block, batch 256, bfloat16, and the lower bounds of the time on an H200."""
    lines = []
    for stage in STAGES:
        pixels = BATCH * stage.side**2
        image, kernel, features = pixels * stage.channels, pixels * stage.taps, pixels * stage.reduced
        aggregation, span = image * WINDOW**2, kernel * stage.reduced
        operator, spanned, conv = ITEM * (2 * image + kernel), ITEM * (2 * image + features), 9 * image * stage.channels
        floors = [
            max(operator / MEMORY, aggregation / VECTOR),
            max(spanned / MEMORY, aggregation / VECTOR, span / MATRIX),
            max(ITEM * 2 * image / MEMORY, conv / MATRIX),
        ]
        line = [f"{stage.number}", f"{operator / 1e6:.0f}", f"{spanned / 1e6:.0f}"]
        line += [f"{count / 1e9:.2f}" for count in (aggregation, span, conv)]
        lines.append(line + [f"{1e6 * floor:.0f}" for floor in floors])
    header = ["stage", "operator, MB", "spanned, MB", "aggregation, G", "span, G", "3x3 convolution, G"]
    header += ["operator, µs", "spanned, µs", "3x3 convolution, µs"]
    return markdown(header, lines) + "\n"


def code() -> str:
    """Return the instruction counts of each program in RedNet's first and last stage, for an H100."""
    lines = []
    for row in load("gpu/gpu-code").rows:
        read = row["arch"] == "sm_90" and row["window"] == WINDOW and row["stride"] == 1
        if read and row["group_channels"] in (1, 16):
            registers = f"{row['registers']}" + (f" + {row['spilled_bytes']} B" if row["spilled_bytes"] else "")
            line = [f"`{row['program']}`", f"{row['channels']}", f"{row['group_channels']}", row["layout"]]
            line += [row["dtype"], f"{row['threads']}", registers, f"{row['shared_bytes'] / 1024:.1f}"]
            lines.append([*line, _count(row["instructions_per_multiply_add"])])
    header = ["program", "C", "C/G", "layout", "type", "threads", "registers + spilled", "shared, KiB"]
    header += ["instructions a multiply-add"]
    return f"{markdown(header, lines)}\n{_compiled()}"


def matrix() -> str:
    """Return the maximum over all programs, for each architecture, layout, group width and window."""
    rows, lines = load("gpu/gpu-code").rows, []
    for axis in ("arch", "layout", "group_channels", "dtype", "window", "stride"):
        for value in dict.fromkeys(row[axis] for row in rows):
            found = [row for row in rows if row[axis] == value]
            most = [max(row[name] for row in found) for name in ("registers", "spilled_bytes", "shared_bytes")]
            spilling = sum(row["spilled_bytes"] > 0 for row in found)
            shared = f"{most[2] / 1024:.1f}"
            lines.append([AXES[axis], f"{value}", f"{len(found)}", f"{most[0]}", f"{most[1]}", f"{spilling}", shared])
    header = ["axis", "value", "programs", "registers", "spilled, B", "programs that spill", "shared, KiB"]
    return f"{markdown(header, lines)}\n{_compiled()}"


def tensor_cores() -> str:
    """Return the instruction counts of the program for tensor cores, beside those of the Triton program."""
    lines = []
    found, counted = (
        load("gpu/gpu-tensor-cores"),
        [load(f"gpu/{path.stem}") for path in MEASURED.glob("gpu/gpu-code*.json")],
    )
    names = ("arch", "channels", "group_channels", "window", "stride", "dtype")
    for row in found.rows:
        case = {name: row[name] for name in (*names, "layout", "side")}
        triton = [row for record in counted for row in record.all(program="forward_spanned", **case)]
        shared = f"{row['shared_bytes'] / 1024:.1f}"
        line = [*(f"{row[name]}" for name in names), f"{row['registers']}", shared, f"{row['matrix_instructions']}"]
        beside = _count(triton[0]["instructions_per_multiply_add"] if triton else None)
        lines.append([*line, f"{row['instructions']}", _count(row["instructions_per_multiply_add"]), beside])
    header = ["architecture", "C", "C/G", "window", "stride", "type", "registers", "shared, KiB", "on tensor cores"]
    header += ["instructions", "a multiply-add", "Triton's inner loop"]
    return f"{markdown(header, lines)}\n`{found.command}`\n"


AXES = {
    "arch": "architecture",
    "layout": "layout",
    "group_channels": "channels of a group",
    "dtype": "type",
    "window": "window",
    "stride": "stride",
}


def every() -> str:
    """Return the maximum over the programs of each record that holds all combinations of some axes."""
    lines = []
    for path in sorted(MEASURED.glob("gpu/gpu-code-*.json")):
        found = load(f"gpu/{path.stem}")
        most = [max(row[name] for row in found.rows) for name in ("registers", "spilled_bytes", "shared_bytes")]
        spilling = sum(row["spilled_bytes"] > 0 for row in found.rows)
        line = [f"`{found.command.partition('-- ')[2]}`", f"{len(found.rows)}", f"{most[0]}", f"{most[1]}"]
        lines.append([*line, f"{spilling}", f"{most[2] / 1024:.1f}"])
    header = ["combinations", "programs", "registers", "spilled, B", "programs that spill", "shared, KiB"]
    return f"{markdown(header, lines)}\n{_compiled()}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _compiled() -> str:
    found = load("gpu/gpu-code")
    return f"Triton {found.versions['triton']}. `{found.command}`\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "gpu-least": least,
    "gpu-code": code,
    "gpu-matrix": matrix,
    "gpu-every": every,
    "gpu-tensor-cores": tensor_cores,
}
