"""The tables of deployment: formats of `involution export`, starting up, ONNX files of dynamic size, and int8."""

from __future__ import annotations

from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown, spread, where

LABELS = {
    "eager": "PyTorch, eager",
    "compiled": "PyTorch, compiled",
    "prepared": "PyTorch, `prepare`",
    "onnx": "`onnx`, onnxruntime",
    "pt2": "`pt2`, AOTInductor",
    "torchscript": "`torchscript`",
}


def formats() -> str:
    """Return time, ratio to eager, size of the file and largest difference of every format."""
    record = load("speed/cpu/export")
    lines = []
    for row in sorted(record.rows, key=lambda row: list(LABELS).index(row["format"])):
        file = [f"{row['file_mib']:.0f}", f"{row['difference']:.0e}"] if "file_mib" in row else ["", ""]
        lines.append([LABELS[row["format"]], spread(row), f"{row['ratio']:.2f}", *file])
    header = ["format", "time, ms (quartiles)", "against eager", "file, MiB", "largest difference"]
    settings = record.settings
    details = (settings["network"], "batch 1", f"onnxruntime {settings['onnxruntime']}", "medians")
    return markdown(header, lines) + where(record, *details) + (f"\n{record.notes}\n" if record.notes else "")


def onnx() -> str:
    """Return the size of every graph, its time, and its largest difference from PyTorch."""
    record = load("speed/cpu/onnx")
    lines = []
    for row in record.rows:
        file = [str(row["nodes"]), f"{row['file_mib']:.0f}", f"{row['relative_difference']:.0e}"]
        lines.append([f"`{row['network']}`", *file, f"{row['eager_ms']:.2f}", spread(row), f"{row['ratio']:.2f}"])
    file_columns = ["nodes", "file, MiB", "largest difference"]
    header = ["network", *file_columns, "eager, ms", "ONNX, ms (quartiles)", "against eager"]
    batch, _, height, width = record.settings["timed"]
    details = (f"times for {batch} x {height} x {width}", f"onnxruntime {record.settings['onnxruntime']}", "medians")
    return markdown(header, lines) + where(record, *details)


def int8() -> str:
    """Return time, difference from float32 and equal classes after quantization."""
    record = load("speed/cpu/int8")
    lines = [
        [
            row["form"],
            spread(row),
            f"{row['ratio']:.2f}",
            f"{row['relative_difference']:.0e}",
            f"{row['same_class']:.0%}",
        ]
        for row in record.rows
    ]
    header = ["RedNet-26", "time, ms (quartiles)", "against eager", "difference of the logits", "same class"]
    settings = record.settings
    images = f"{settings['compared_images']} random images"
    details = (f"torchao {settings['torchao']}", "random weights", images, "batch 1", "medians")
    return markdown(header, lines) + where(record, *details)


def startup() -> str:
    """Return the seconds to the first answer."""
    record = load("speed/cpu/startup")
    lines = [[row["form"], f"{row['built_s']:.1f}", f"{row['answered_s']:.1f}"] for row in record.rows]
    header = ["form", "build the network, s", "then, to the first answer, s"]
    details = (record.settings["network"], "batch 1", "float32", "after the imports")
    return markdown(header, lines) + where(record, *details) + (f"\n{record.notes}\n" if record.notes else "")


BLOCKS = {"formats": formats, "int8": int8, "onnx": onnx, "startup": startup}
