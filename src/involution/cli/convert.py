"""`involution convert IN OUT`: convert weights between releases and file formats.

IN is a checkpoint of the official code (mmcls, mmdet, mmseg), of its Paddle port, of `involution fit`, or a file of
weights under our names. Release, network, depth and stem are detected. OUT is safetensors or PyTorch's
format, by its ending. Every tensor must have its place in the network. No code in IN is run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from involution.cli.errors import Parser


def run(command: str, arguments: Sequence[str]) -> None:
    """Convert the file and report."""
    parser = Parser(prog="involution convert", description=__doc__)
    parser.add_argument("source", metavar="IN", help="file of weights")
    parser.add_argument("out", metavar="OUT", help="ends in .safetensors, .pth or .pt")
    parser.add_argument(
        "--to",
        choices=("involution", "official"),
        default="involution",
        help="names of the tensors in OUT: of this library or of the official code (default: involution)",
    )
    parser.add_argument(
        "--stem-kernel-size",
        type=int,
        choices=(3, 7),
        help="kernel size of the stem in OUT; 7 pads a 3x3 kernel with zeros, which does not change the outputs",
    )
    parser.add_argument("--keys", action="store_true", help="print the names of every tensor in IN and in OUT")
    parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")
    given = parser.parse_args(arguments)

    from involution.models.conversion import convert  # imported after the arguments are checked

    report = convert(given.source, given.out, given.to, given.stem_kernel_size)
    print(json.dumps(report, indent=1) if given.json else _text(report, given.keys))


def _text(report: dict[str, Any], keys: bool) -> str:
    options = ", ".join(f"{name} {value}" for name, value in report["options"].items())
    lines = [
        f"{'read':10}{report['source']}, {len(report['keys'])} tensors, names: {report['from']}",
        f"{'network':10}{report['network']} ({options})",
        *(f"{'note':10}{note}" for note in report["notes"]),
        f"{'written':10}{report['out']}, names: {report['to']}",
    ]
    if keys:
        width = max(len(key["from"]) for key in report["keys"])
        for key in report["keys"]:
            shape = " x ".join(map(str, key["shape"])) or "scalar"
            note = f"  ({key['note']})" if key["note"] else ""
            lines.append(f"{key['from'] or '-':{width}}  {key['to']}  {shape}{note}")
    return "\n".join(lines)
