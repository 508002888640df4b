"""One ONNX file per network, with dynamic batch and size, in onnxruntime beside eager PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.timing import interleaved
from involution.models.export import Flat, export
from involution.models.recognition import create

NETWORKS = ("rednet26", "rednet50", "faster_rcnn/rednet50/involution", "semantic_fpn/rednet50/involution")
SHAPES = [(batch, 3, *size) for batch in (1, 5) for size in ((224, 224), (225, 199))]
EXAMPLE = (96, 96)
"""Image size of the export; it is none of `SHAPES`."""


def run(options: Options) -> Measured:
    """Export every network once, compare it at all shapes, and time the first."""
    networks, shapes, example = (
        (NETWORKS[:1], [(1, 3, 33, 32)], (32, 32)) if options.dry_run else (NETWORKS, SHAPES, EXAMPLE)
    )
    rows = [_row(name, shapes, example, options) for name in networks]
    settings = {"shapes": [list(shape) for shape in shapes], "timed": list(shapes[0]), "reference": "eager"}
    return Measured(rows, {**settings, "onnxruntime": version("onnxruntime")})


@torch.no_grad()
def _row(name: str, shapes: Sequence[Sequence[int]], example: Sequence[int], options: Options) -> Row:
    torch.manual_seed(0)
    network = _with_norms(create(name, {})).eval()
    flat = Flat(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        export(network, "onnx", path, example, ["batch", "size"])
        facts = {"network": name, "nodes": _nodes(onnx.load(path)), "file_mib": path.stat().st_size / 2**20}
        session = _session(path)
    images = [torch.randn(*shape) for shape in shapes]
    feed = {"images": images[0].numpy()}
    works = {"eager": lambda: flat(images[0]), "onnx": lambda: session.run(None, feed)}
    times = interleaved(works, options.device, **options.timing(4.0))
    compared = {"eager_ms": 1e3 * times["eager"].median, "ratio": times["onnx"].median / times["eager"].median}
    difference = max(_difference(flat(x), session.run(None, {"images": x.numpy()})) for x in images)
    return {**facts, **times["onnx"].row(), **compared, "relative_difference": difference}


def _difference(outputs: Any, found: Sequence[Any]) -> float:
    """Return the largest difference, relative to the largest value of its output."""
    expected = [outputs] if isinstance(outputs, Tensor) else outputs
    pairs = zip(expected, map(torch.from_numpy, found), strict=True)
    return max(((z - y).abs().max() / y.abs().max()).item() for y, z in pairs)


def _with_norms(network: nn.Module) -> nn.Module:
    """Draw the scales of the norms: those that are zero at initialization would leave out their block."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
    return network


def _nodes(model: Any) -> int:
    return len(model.graph.node) + sum(len(function.node) for function in model.functions)


def _session(path: Path) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads of PyTorch run in between
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
