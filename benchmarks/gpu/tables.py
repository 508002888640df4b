"""Tables of docs/gpu.md: what the operators must move and multiply, and what their machine code costs."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measuring.record import load
from benchmarks.measuring.shapes import STAGES, WINDOW
from benchmarks.tables.markdown import markdown

BATCH, ITEM = 256, 2

# NVIDIA's data sheet of the H200 SXM, without sparsity. A multiply-add counts as two operations there.
MEMORY = 4.8e12  # bytes a second
VECTOR = 67e12 / 2  # multiply-adds a second, float32
MATRIX = 989e12 / 2  # multiply-adds a second, bfloat16


def least() -> str:
    """Count bytes and multiply-adds of one block, batch 256, bfloat16; the floors they imply on an H200."""
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
    """Print what the machine code of every program costs."""
    found = load("gpu/gpu-code")
    lines = []
    for row in found.rows:
        registers = f"{row['registers']}" + (f" + {row['spilled_bytes']} B" if row["spilled_bytes"] else "")
        line = [f"`{row['file']}.py`", f"{row['stage']}", row["dtype"], f"{row['threads']}", registers]
        line += [f"{row['shared_bytes'] / 1024:.1f}", f"{row['instructions_per_multiply_add']:.2f}"]
        lines.append(line)
    header = ["file", "stage", "type", "threads", "registers + spilled", "shared, KiB", "instructions a multiply-add"]
    compiled = f"Triton {found.versions['triton']} for {found.settings['target']}"
    return f"{markdown(header, lines)}\n{compiled}. `{found.command}`\n"


BLOCKS: dict[str, Callable[[], str]] = {"gpu-least": least, "gpu-code": code}
