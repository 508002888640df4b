"""Inference of RedNet-50 in every format of `involution export`, beside eager and compiled PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import timm
import torch
from torch import Tensor

import involution.models  # registers the networks
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.shapes import images
from benchmarks.measuring.timing import Work, interleaved
from involution.models.export import export

Runtime = Callable[[Tensor], Any]


def run(options: Options) -> Measured:
    """Export the network, load every file and time it; one image, dynamic batch."""
    name, size = ("rednet26", 32) if options.dry_run else ("rednet50", 224)
    formats = ("onnx",) if options.dry_run else ("onnx", "pt2", "torchscript")
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    x = images(1, 3, size)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        runtimes: dict[str, Runtime] = {"eager": network, "prepared": involution.models.prepare(network)}
        facts: dict[str, Row] = {}
        for format in formats:
            path = Path(folder, f"net.{format}")
            difference = export(network, format, path, (size, size), ["batch"])
            runtimes[format] = _load(format, path)
            facts[format] = {"file_mib": path.stat().st_size / 2**20, "difference": difference}
        if not options.dry_run:
            runtimes["compiled"] = torch.compile(network)
        works: dict[str, Work] = {label: partial(runtime, x) for label, runtime in runtimes.items()}
        times = interleaved(works, options.device, **options.timing(20.0))
    eager = times["eager"].median
    rows = [
        {"format": label, **found.row(), "ratio": found.median / eager, **facts.get(label, {})}
        for label, found in times.items()
    ]
    return Measured(
        rows,
        {"network": name, "batch": 1, "size_px": size, "reference": "eager", "onnxruntime": version("onnxruntime")},
    )


def _load(format: str, path: Path) -> Runtime:
    if format == "pt2":
        return torch._inductor.aoti_load_package(str(path))
    if format == "torchscript":
        return torch.jit.load(str(path))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads of PyTorch run in between
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"images": x.numpy()})
