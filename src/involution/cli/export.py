"""`involution export NAME|CHECKPOINT --format FORMAT --out FILE`: export a network to ONNX, AOTInductor or TorchScript.

The result takes normalized images [B, C, H, W]. A classifier gives logits, a segmentor scores, a detector the maps of
its feature pyramid. It is compared with PyTorch, and the largest difference is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from involution.cli.errors import Parser, UserError
from involution.weights import ENDINGS as WEIGHTS
from involution.weights import check_destination

ENDINGS = {"onnx": ".onnx", "pt2": ".pt2", "torchscript": ".pt"}
TOLERANCES = {"float32": 1e-4, "float64": 1e-9, "bfloat16": 1e-1, "float16": 1e-2}  # absolute


def run(command: str, arguments: Sequence[str]) -> None:
    """Export, compare and report."""
    parser = Parser(prog="involution export", description=__doc__)
    parser.add_argument(
        "network", metavar="NAME|CHECKPOINT", help="network such as rednet50, or a checkpoint or file of weights"
    )
    parser.add_argument("--format", choices=tuple(ENDINGS), required=True)
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="file to write; its ending is that of the format: .onnx, .pt2 or .pt",
    )
    parser.add_input_size(default=(224, 224), help="(default: 224)")
    parser.add_argument(
        "--dynamic", default="", metavar="batch,size", help="dimensions that may vary at run time: batch, size, or both"
    )
    parser.add_argument("--dtype", choices=tuple(TOLERANCES), default="float32")
    given = parser.parse_args(arguments)
    out = check_destination(given.out, "--out", (ENDINGS[given.format],))

    import torch

    from involution.explore import load_network
    from involution.models.export import export

    path = Path(given.network)
    file = path if path.exists() or path.suffix in (".ckpt", *WEIGHTS) else None
    network = load_network(None if file else given.network, file).model.to(getattr(torch, given.dtype))
    dynamic = [name for name in given.dynamic.split(",") if name]
    difference = export(network, given.format, out, given.input_size, dynamic)
    print(f"{out}  {out.stat().st_size / 2**20:.1f} MiB, largest difference from PyTorch {difference:.1e}")
    print(f"run it with {_usage(given.format, out)}; see docs/deployment.md")
    if file is None:
        print(f"{given.network} without a checkpoint: its weights are random", file=sys.stderr)
    if not difference <= TOLERANCES[given.dtype]:
        raise UserError(f"--format: expected at most {TOLERANCES[given.dtype]:.0e} from PyTorch, got {difference:.1e}")


def _usage(format: str, out: Path) -> str:
    """Return the lines of Python that run a file without this package."""
    from involution.ops import cpu

    if format == "onnx":
        return f'onnxruntime.InferenceSession("{out}").run(None, {{"images": images}})'
    operators = f'torch.ops.load_library("{cpu.LIBRARY}")' if cpu.status()["loaded"] else "import involution"
    load = "torch._inductor.aoti_load_package" if format == "pt2" else "torch.jit.load"
    return f'{operators}; {load}("{out}")(images)'
