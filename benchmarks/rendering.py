"""Generate the tables of README and docs and the pictures from the records.

A generated table is between `<!-- begin: NAME -->` and `<!-- end: NAME -->`, where NAME is a key of `BLOCKS`. A figure
in a sentence is between the same marks without a line break, where NAME is a key of `VALUES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu import tables as gpu
from benchmarks.measuring.record import ROOT
from benchmarks.plots import accuracy, curves, latency
from benchmarks.plots import study as study_plot
from benchmarks.tables import complexity, denoising, detection, headline, segmentation, study, training
from benchmarks.tables.speed import against, blocks, cpu, export, family, local_attention
from benchmarks.tables.values import VALUES

MARKED = re.compile(r"(?P<begin><!-- begin: (?P<name>[\w-]+) -->\n?).*?(?P<end><!-- end: (?P=name) -->)", re.DOTALL)
PICTURES = (*accuracy.PICTURES, *latency.PICTURES, *curves.PICTURES, *study_plot.PICTURES)
BLOCKS: dict[str, Callable[[], str]] = {
    **against.BLOCKS,
    **blocks.BLOCKS,
    **complexity.BLOCKS,
    **cpu.BLOCKS,
    **denoising.BLOCKS,
    **detection.BLOCKS,
    **export.BLOCKS,
    **family.BLOCKS,
    **gpu.BLOCKS,
    **headline.BLOCKS,
    **headline.VALUES,
    **local_attention.BLOCKS,
    **segmentation.BLOCKS,
    **study.BLOCKS,
    **study.VALUES,
    **training.BLOCKS,
    **VALUES,
}


def pages() -> list[Path]:
    """Return the pages that have generated blocks."""
    cards = sorted((ROOT / "src/involution/weights/pretrained").glob("*.md"))
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")), *cards]


def fill(text: str) -> str:
    """Return `text` with all marked blocks updated.

    Raises:
        ValueError: a block has no end or an unknown name.
    """

    def block(match: re.Match[str]) -> str:
        if match["name"] not in BLOCKS:
            raise ValueError(f"block: expected one of {sorted(BLOCKS)}, got {match['name']!r}")
        return match["begin"] + BLOCKS[match["name"]]() + match["end"]

    filled, count = MARKED.subn(block, text)
    if count != text.count("<!-- begin: ") or count != text.count("<!-- end: "):
        raise ValueError("block: expected every begin mark to have its end mark, got one without")
    return filled


def stale_pages() -> dict[Path, str]:
    """Return the pages whose blocks are outdated, with the updated text."""
    filled = {page: fill(page.read_text()) for page in pages()}
    return {page: text for page, text in filled.items() if text != page.read_text()}


def stale() -> list[Path]:
    """Return the outdated pages and pictures."""
    return [*stale_pages(), *(picture.path for picture in PICTURES if not picture.current())]


def render() -> list[Path]:
    """Update all pages and pictures; return those that were written."""
    pictures = [picture for picture in PICTURES if not picture.current()]
    for picture in pictures:
        picture.write()
    written = stale_pages()
    for page, text in written.items():
        page.write_text(text)
    return [*written, *(picture.path for picture in pictures)]
