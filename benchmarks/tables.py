"""Fill the tables of README and docs from results/, or check that they are current.

    python benchmarks/tables.py --write | --check

A table stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`, NAME being a key of `BLOCKS`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import complexity_tables
import cpu_tables
import detection_tables
import gpu_tables
import local_attention_tables
import segmentation_tables

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- begin: (?P<name>[\w-]+) -->\n).*?(<!-- end: (?P=name) -->)", re.DOTALL)

BLOCKS: dict[str, Callable[[], str]] = {
    **complexity_tables.BLOCKS,
    **cpu_tables.BLOCKS,
    **detection_tables.BLOCKS,
    **gpu_tables.BLOCKS,
    **local_attention_tables.BLOCKS,
    **segmentation_tables.BLOCKS,
}


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
