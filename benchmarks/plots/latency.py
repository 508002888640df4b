"""Measured inference time on CPU against multiply-adds.

Time is relative to ResNet-50 in the same mode. On the dotted line, time is proportional to multiply-adds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.measuring.record import load
from benchmarks.plots.labels import Point, place
from benchmarks.plots.picture import Picture
from benchmarks.speed.entries import ENTRIES

BATCHES = (1, 16)
FAMILIES = {"rednet": "tab:red", "resnet": "black"}

Points = dict[str, dict[str, Any]]
"""By mode and batch, then by network: multiply-adds of an image in G, and the multiple of ResNet-50's time."""


def points() -> Points:
    """Return the float32 figures of networks whose multiply-adds are recorded.

    What is not compiled beside compiled networks is left out: a hollow mark would say that it is compiled.
    """
    found: Points = {}
    for row in load("speed/cpu/networks").all(dtype="float32"):
        if row["macs"] and ENTRIES[row["network"]].compiles:
            mode = found.setdefault(f"{row['mode']}, batch {row['batch']}", {})
            mode[row["network"]] = [row["macs"] / row["batch"] / 1e9, row["ratio"]]
    return found


def draw(found: Points) -> Figure:
    """Draw one panel per batch size. Filled marks are eager, hollow marks compiled."""
    figure = Figure(figsize=(8.5, 4), layout="constrained")
    panels = figure.subplots(1, len(BATCHES), sharex=True, sharey=True)
    for axes, batch in zip(panels, BATCHES, strict=True):
        for mode in ("eager", "compiled"):
            _marks(axes, found.get(f"{mode}, batch {batch}", {}), hollow=mode == "compiled")
        x, _ = found[f"eager, batch {batch}"]["resnet50"]
        axes.axline((x / 2, 0.5), (x, 1), color="0.5", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log", xlabel="multiply-adds, G", title=f"batch {batch}")
        axes.set_xlim(0.5, 14)
        axes.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
        axes.set_yticks([0.25, 0.5, 1, 2, 3, 6], ["0.25", "0.5", "1", "2", "3", "6"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("time, as a multiple of ResNet-50's")
    panels[0].scatter([], [], color="0.3", s=20, label="eager")
    panels[0].scatter([], [], facecolor="white", edgecolor="0.3", s=20, label="compiled, weights frozen")
    panels[0].legend(fontsize=7, loc="lower right")
    for axes, batch in zip(panels, BATCHES, strict=True):
        eager, compiled = (found.get(f"{mode}, batch {batch}", {}) for mode in ("eager", "compiled"))
        lines = [line for rows in (eager, compiled) for line, _ in _lines(rows)]
        named = [(network, x, y) for network, (x, y) in eager.items()]
        place(axes, named, [*eager.values(), *compiled.values()], lines)
    return figure


def _lines(rows: dict[str, Any]) -> Iterator[tuple[list[Point], str]]:
    """Yield the points of each family, in the order of multiply-adds, and its colour."""
    for family, color in FAMILIES.items():
        line = sorted((x, y) for network, (x, y) in rows.items() if re.fullmatch(rf"{family}\d+", network))
        if len(line) > 1:
            yield line, color


def _marks(axes: Axes, rows: dict[str, Any], hollow: bool) -> None:
    for line, color in _lines(rows):
        axes.plot(*zip(*line, strict=True), color=color, linewidth=1.2, linestyle="--" if hollow else "-")
    for network, xy in rows.items():
        color = next((c for family, c in FAMILIES.items() if network.startswith(family)), "tab:gray")
        axes.scatter(xy[0], xy[1], s=24, facecolor="white" if hollow else color, edgecolor=color, zorder=3)


PICTURES = (Picture("latency.svg", points, draw),)
