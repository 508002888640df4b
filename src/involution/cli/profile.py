"""`involution profile NAME`: parameters and multiply-adds of a network, counted without computing them.

With `--time`, also the time of a forward pass of one image on the CPU of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from involution.cli.errors import Parser, UserError
from involution.cli.yaml_values import load_yaml


def run(command: str, arguments: Sequence[str]) -> None:
    """Print the counts as a table, or as JSON."""
    given = _parser().parse_args(arguments)
    options = dict(_option(pair) for pair in given.set)

    from involution.models.counting.complexity import profile  # imported after the arguments are checked

    counts = profile(given.name, given.input_size, **options)
    if given.time:
        from involution.models.counting.latency import latency

        counts |= latency(given.name, given.input_size, **options)
    print(json.dumps(counts) if given.json else _table(counts))


def _parser() -> Parser:
    parser = Parser(prog="involution profile", description=__doc__)
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a network of timm's registry, for example rednet50; or DETECTOR/BACKBONE/NECK/HEAD and "
        "SEGMENTOR/BACKBONE/NECK, for example mask_rcnn/rednet50/involution/convolution or upernet/rednet50",
    )
    parser.add_input_size(help="(default: that of the published counts: 224, detectors 800 1280, segmentors 1024 2048)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an argument of the network; may be repeated"
    )
    parser.add_argument("--time", action="store_true", help="measure the time of one image on this CPU, float32")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    return parser


def _option(pair: str) -> tuple[str, Any]:
    key, equals, value = pair.partition("=")
    if not equals or not key.isidentifier():
        raise UserError(f"--set: expected KEY=VALUE, got {pair!r}")
    try:
        return key, load_yaml(value)
    except yaml.YAMLError:
        raise UserError(f"--set: expected a number, word, list or mapping for {key}, got {value!r}") from None


def _table(counts: dict[str, Any]) -> str:
    """Align names and values; long counts also in millions or thousands of millions."""
    rows = []
    for name, value in counts.items():
        rows.append(f"{name:18}{_text(value):>18}{_short(value)}")
    return "\n".join(rows)


def _text(value: Any) -> str:
    match value:
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.1f}"
        case list():
            return " x ".join(map(str, value))
    return str(value)


def _short(value: Any) -> str:
    if not isinstance(value, int) or value < 10**6:
        return ""
    return f"  {value / 1e9:.2f} G" if value >= 10**9 else f"  {value / 1e6:.2f} M"
