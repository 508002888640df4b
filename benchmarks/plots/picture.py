"""Pictures that store the figures they show, so that `check` can find outdated ones."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.measuring.record import ROOT

CARRIED = re.compile(r"<dc:description>(.*?)</dc:description>", re.DOTALL)


@dataclass(frozen=True)
class Picture:
    """One SVG file.

    Attributes:
        name: of the file.
        figures: function that returns the figures from the records.
        draw: function that draws the figures.
        folder: folder of the file.
    """

    name: str
    figures: Callable[[], Any]
    draw: Callable[[Any], Figure]
    folder: Path = ROOT / "docs" / "images"

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.folder / self.name

    def current(self) -> bool:
        """Whether the file shows the figures of the records."""
        carried = CARRIED.search(self.path.read_text()) if self.path.exists() else None
        shown = json.loads(html.unescape(carried[1])) if carried else None
        return bool(shown == json.loads(json.dumps(self.figures())))

    def write(self) -> None:
        """Write the file. The bytes depend on the figures only."""
        figures = self.figures()
        with matplotlib.rc_context({"svg.hashsalt": "involution", "svg.fonttype": "none", "font.size": 9}):
            description = json.dumps(figures)
            self.draw(figures).savefig(self.path, format="svg", metadata={"Date": None, "Description": description})
