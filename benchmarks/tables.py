"""Fill the tables of README and docs from results/, or check that they are current.

    python benchmarks/tables.py --write | --check

A table stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`, NAME being a key of `BLOCKS`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results/published.toml"
COUNTS = ROOT / "results/measured/complexity.json"
MARKED = re.compile(r"(<!-- begin: (?P<name>[\w-]+) -->\n).*?(<!-- end: (?P=name) -->)", re.DOTALL)

Row = dict[str, Any]


def key(row: Row) -> str:
    """Name the network of a row with its arguments, as in results/measured/complexity.json."""
    return " ".join([row["model"], *(f"{name}={value}" for name, value in row.get("arguments", {}).items())])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def classification() -> str:
    """Return the RedNets: published and our counts, published accuracy."""
    table, counts = _published("readme"), _counts()

    def line(row: Row) -> list[str]:
        ours = counts[key(row)]
        return [
            f"`{row['model']}`",
            f"{ours['params'] / 1e6:.2f} ({row['params']:.2f})",
            f"{ours['published_flops'] / 1e9:.2f} ({row['flops']:.2f})",
            f"{ours['macs'] / 1e9:.2f}",
            f"{row['top1']:.2f}",
        ]

    header = ["model", "params, M (published)", "FLOPs, G (published)", "multiply-adds, G", "published top-1, %"]
    return markdown(header, map(line, table["rows"]))


BLOCKS: dict[str, Callable[[], str]] = {"classification": classification}


def fill(text: str) -> str:
    """Return `text` with every marked block as it should be.

    Raises:
        ValueError: a block has no end or a name that nothing generates.
    """

    def block(match: re.Match[str]) -> str:
        if match["name"] not in BLOCKS:
            raise ValueError(f"block: expected one of {sorted(BLOCKS)}, got {match['name']!r}")
        return match[1] + BLOCKS[match["name"]]() + match[3]

    filled, count = MARKED.subn(block, text)
    if count != text.count("<!-- begin: ") or count != text.count("<!-- end: "):
        raise ValueError("block: expected every begin mark to have its end mark, got one without")
    return filled


def stale() -> dict[Path, str]:
    """Return the pages whose blocks are not current, with the text that they should have."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    filled = {page: fill(page.read_text()) for page in pages}
    return {page: text for page, text in filled.items() if text != page.read_text()}


def write() -> None:
    """Bring every page up to date."""
    for page, text in stale().items():
        page.write_text(text)
        print(f"written: {page.relative_to(ROOT)}")


def _published(name: str) -> Row:
    return tomllib.loads(PUBLISHED.read_text())[name]


def _counts() -> Row:
    return json.loads(COUNTS.read_text())


def main() -> int:
    """Return 0, or 1 if a page is stale and may not be written."""
    parser = argparse.ArgumentParser(description="Fill the tables of README and docs, or check that they are current.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="fill them")
    action.add_argument("--check", action="store_true", help="exit with 1 if one is not current")
    if parser.parse_args().write:
        write()
        return 0
    pages = stale()
    for page in pages:
        print(f"stale: {page.relative_to(ROOT)}; run: python benchmarks/tables.py --write", file=sys.stderr)
    return 1 if pages else 0


if __name__ == "__main__":
    sys.exit(main())
