"""One ONNX file per network, with dynamic batch and size, in onnxruntime beside eager PyTorch.

The network is exported at one size and compared at others. Its norms have seen images, so that its outputs are of
ordinary size.
"""

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
LIMIT = 1e-4  # largest difference, relative to the largest value of the output


def run(options: Options) -> Measured:
    """Export every network once, compare it at all shapes, and time the first.

    Raises:
        RuntimeError: an output differs by more than `LIMIT`.
    """
    networks, shapes, example = (
        (NETWORKS[:1], [(1, 3, 33, 32)], (32, 32)) if options.dry_run else (NETWORKS, SHAPES, EXAMPLE)
    )
    rows = [_row(name, shapes, example, options) for name in networks if options.budget.allows(name, 60)]
    settings = {"shapes": [list(shape) for shape in shapes], "timed": list(shapes[0]), "reference": "eager"}
    return Measured(rows, {**settings, "onnxruntime": version("onnxruntime")})


@torch.no_grad()
def _row(name: str, shapes: Sequence[Sequence[int]], example: Sequence[int], options: Options) -> Row:
    torch.manual_seed(0)
    network = create(name, {})
    flat = _with_norms(Flat(network), shapes[0][2:])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        export(network, "onnx", path, example, ["batch", "size"])
        facts = {"network": name, "nodes": _nodes(onnx.load(path)), "file_mib": path.stat().st_size / 2**20}
        session = _session(path)
    images = [torch.randn(*shape) for shape in shapes]
    pairs = [pair for x in images for pair in _pairs(flat(x), session.run(None, {"images": x.numpy()}))]
    differences = [(z - y).abs().max().item() for y, z in pairs]
    relative = [d / y.abs().max().item() for d, (y, _) in zip(differences, pairs, strict=True)]
    if not max(relative) <= LIMIT:
        raise RuntimeError(f"{name}: expected a difference of at most {LIMIT}, got {max(relative)}")
    feed = {"images": images[0].numpy()}
    works = {"eager": lambda: flat(images[0]), "onnx": lambda: session.run(None, feed)}
    times = interleaved(works, options.device, **options.timing(10.0))
    compared = {"eager_ms": 1e3 * times["eager"].median, "ratio": times["onnx"].median / times["eager"].median}
    return {**facts, **times["onnx"].row(), **compared, "difference": max(differences), "relative": max(relative)}


def _pairs(outputs: Any, found: Sequence[Any]) -> list[tuple[Tensor, Tensor]]:
    expected = [outputs] if isinstance(outputs, Tensor) else outputs
    return list(zip(expected, map(torch.from_numpy, found), strict=True))


def _with_norms(network: nn.Module, size: Sequence[int]) -> nn.Module:
    """Show images to the norms, after those that are zero at first, and leave out their block, are set to 0.2.

    An involution is quadratic: with larger blocks, a difference from the images shown grows from block to block.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            if not module.weight.any():
                nn.init.constant_(module.weight, 0.2)
    network.train()(torch.randn(4, 3, *size))
    return network.eval()


def _nodes(model: Any) -> int:
    return len(model.graph.node) + sum(len(function.node) for function in model.functions)


def _session(path: Path) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads of PyTorch run in between
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
