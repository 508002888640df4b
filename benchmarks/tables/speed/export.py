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


def startup() -> str:
    """Return the seconds to the first answer."""
    record = load("speed/cpu/startup")
    lines = [[row["form"], f"{row['built_s']:.1f}", f"{row['answered_s']:.1f}"] for row in record.rows]
    header = ["form", "build the network, s", "then, to the first answer, s"]
    details = (record.settings["network"], "batch 1", "float32", "after the imports")
    return markdown(header, lines) + where(record, *details) + (f"\n{record.notes}\n" if record.notes else "")


def onnx() -> str:
    """Return the size of the graph, the time against eager and the largest difference of every network."""
    record = load("speed/cpu/onnx")
    lines = []
    for row in record.rows:
        figures = [str(row["nodes"]), f"{row['file_mib']:.0f}", spread(row), f"{row['eager_ms']:.2f}"]
        lines.append([f"`{row['network']}`", *figures, f"{row['ratio']:.2f}", f"{row['relative']:.0e}"])
    header = ["network", "nodes", "file, MiB", "time, ms (quartiles)", "eager, ms", "against eager", "difference"]
    settings = record.settings
    shapes = "; ".join(" x ".join(map(str, shape)) for shape in settings["shapes"])
    details = (
        f"time of {' x '.join(map(str, settings['timed']))}, largest difference relative to the output of {shapes}"
    )
    return markdown(header, lines) + where(record, f"onnxruntime {settings['onnxruntime']}", "medians", details)


def int8() -> str:
    """Return time and accuracy of int8 beside the other forms."""
    record = load("speed/cpu/int8")
    labels = {**LABELS, "prepared, bfloat16": "PyTorch, `prepare`, bfloat16", "int8": "int8, torchao"}
    lines = []
    for row in record.rows:
        agreement = [f"{row['relative_difference']:.1e}", f"{row['same_class']:.0%}"]
        lines.append([labels[row["form"]], spread(row), f"{row['ratio']:.2f}", *agreement])
    header = ["form", "time, ms (quartiles)", "against eager", "difference of logits", "same class"]
    settings = record.settings
    details = (settings["network"], "batch 1", f"torchao {settings['torchao']}", "medians")
    return markdown(header, lines) + where(record, *details) + (f"\n{record.notes}\n" if record.notes else "")


def readme() -> str:
    """Return the time of each of README's commands."""
    record = load("deployment/readme")
    lines = [[f"`{row['command']}`", f"{row['duration_s']:.0f}"] for row in record.rows]
    details = "one run; the times of `pip` depend on the connection and on its cache"
    return markdown(["command", "time, s"], lines) + where(record, details)


BLOCKS = {"readme": readme, "formats": formats, "int8": int8, "onnx": onnx, "startup": startup}
