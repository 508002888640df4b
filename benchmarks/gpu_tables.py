"""Tables of docs/gpu.md: what the operators must move and multiply, and what their machine code costs."""

from __future__ import annotations

import json

from complexity_tables import RESULTS, markdown

CODE = RESULTS / "measured/gpu-code-sm90.json"
STAGES = {1: (64, 56), 2: (128, 28), 3: (256, 14), 4: (512, 7)}
BATCH, WINDOW, GROUP_CHANNELS, REDUCTION, ITEM = 256, 7, 16, 4, 2

# NVIDIA's data sheet of the H200 SXM, without sparsity. A multiply-add counts as two operations there.
MEMORY = 4.8e12  # bytes a second
VECTOR = 67e12 / 2  # multiply-adds a second, float32
MATRIX = 989e12 / 2  # multiply-adds a second, bfloat16


def least() -> str:
    """Count bytes and multiply-adds of one block, batch 256, bfloat16; the floors they imply on an H200."""
    lines = []
    for stage, (channels, side) in STAGES.items():
        pixels = BATCH * side * side
        image, kernel = pixels * channels, pixels * channels // GROUP_CHANNELS * WINDOW**2
        features = pixels * channels // REDUCTION
        aggregation, span = image * WINDOW**2, kernel * channels // REDUCTION
        operator, spanned, conv = ITEM * (2 * image + kernel), ITEM * (2 * image + features), 9 * image * channels
        floors = [
            max(operator / MEMORY, aggregation / VECTOR),
            max(spanned / MEMORY, aggregation / VECTOR, span / MATRIX),
            max(ITEM * 2 * image / MEMORY, conv / MATRIX),
        ]
        line = [f"{stage}", f"{operator / 1e6:.0f}", f"{spanned / 1e6:.0f}"]
        line += [f"{count / 1e9:.2f}" for count in (aggregation, span, conv)]
        lines.append(line + [f"{1e6 * floor:.0f}" for floor in floors])
    header = ["stage", "operator, MB", "spanned, MB", "aggregation, G", "span, G", "3x3 convolution, G"]
    header += ["operator, µs", "spanned, µs", "3x3 convolution, µs"]
    return markdown(header, lines) + "\n"


def code() -> str:
    """Print what the machine code of every program costs."""
    found = json.loads(CODE.read_text())
    lines = []
    for row in found["rows"]:
        registers = f"{row['registers']}" + (f" + {row['spilled_bytes']} B" if row["spilled_bytes"] else "")
        line = [f"`{row['file']}.py`", f"{row['stage']}", row["dtype"], f"{row['threads']}", registers]
        line += [f"{row['shared_bytes'] / 1024:.1f}", f"{row['instructions_per_multiply_add']:.2f}"]
        lines.append(line)
    header = ["file", "stage", "type", "threads", "registers + spilled", "shared, KiB", "instructions a multiply-add"]
    return f"{markdown(header, lines)}\nTriton {found['triton']} for {found['target']}; `{found['command']}`.\n"


BLOCKS = {"gpu-least": least, "gpu-code": code}
