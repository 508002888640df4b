"""`involution curves RUN ... --out FILE`: draw the learning curves that `involution fit` logged."""

from __future__ import annotations

from collections.abc import Sequence

from involution.cli.errors import Parser
from involution.cli.explain import picture_path


def run(command: str, arguments: Sequence[str]) -> None:
    """Draw the curves and write them to a file."""
    parser = Parser(prog="involution curves", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder written by `involution fit`, such as runs/digits/version_0"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="PNG, SVG or PDF, chosen by its ending")
    given = parser.parse_args(arguments)
    out = picture_path(given.out)

    from involution.visualize import draw_curves, read_curves  # imported after the arguments are checked

    draw_curves({run: read_curves(run) for run in given.runs}).savefig(out, dpi=150)
