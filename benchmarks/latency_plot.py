"""Measured time of inference on CPU against multiply-adds, both as recorded in results/measured/speed-network-cpu.json.

    python benchmarks/latency_plot.py --write | --check

Time is relative to ResNet-50 in the same mode. On the dotted line time grows as the arithmetic does.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import cpu_tables
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PATH = Path(__file__).parents[1] / "docs/images/latency.svg"
REFERENCE = "resnet50"
BATCHES = (1, 16)
FAMILIES = {"rednet": "tab:red", "resnet": "black"}

Points = dict[str, dict[str, tuple[float, float]]]
"""By mode and network: multiply-adds in G, time in times of ResNet-50."""


def points() -> Points:
    """Return what the record says."""
    record = cpu_tables.measured("network")

    def macs(network: str) -> float:
        name = network.partition(",")[0]  # "rednet50, unfold" is the same network computed otherwise
        return float(record["madds"][name]) / 1e9

    return {
        mode: {network: (macs(network), row["ratio"]) for network, row in rows.items()}
        for mode, rows in record["modes"].items()
    }


def draw(found: Points) -> Figure:
    """Draw a panel per batch size; filled marks are eager, hollow ones compiled."""
    figure = Figure(figsize=(8.5, 4), layout="constrained")
    panels = figure.subplots(1, len(BATCHES), sharex=True, sharey=True)
    for axes, batch in zip(panels, BATCHES, strict=True):
        for mode in ("eager", "compiled"):
            _marks(axes, found.get(f"{mode}, batch {batch}", {}), hollow=mode == "compiled")
        x, _ = found[f"eager, batch {batch}"][REFERENCE]
        axes.axline((x / 2, 0.5), (x, 1), color="0.5", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log", xlabel="multiply-adds, G", title=f"batch {batch}")
        axes.set_xlim(0.5, 14)
        axes.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
        axes.set_yticks([0.25, 0.5, 1, 2, 3], ["0.25", "0.5", "1", "2", "3"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("time, in times of ResNet-50's")
    panels[0].scatter([], [], color="0.3", s=20, label="eager")
    panels[0].scatter([], [], facecolor="white", edgecolor="0.3", s=20, label="compiled")
    panels[0].legend(fontsize=7, loc="lower right")
    return figure


def _marks(axes: Axes, rows: dict[str, tuple[float, float]], hollow: bool) -> None:
    for family, color in FAMILIES.items():
        line = sorted(xy for network, xy in rows.items() if re.fullmatch(rf"{family}\d+", network))
        axes.plot(*zip(*line, strict=True), color=color, linewidth=1.2, linestyle="--" if hollow else "-")
    for network, xy in rows.items():
        color = next((c for family, c in FAMILIES.items() if network.startswith(family)), "tab:gray")
        axes.scatter(*xy, s=24, facecolor="white" if hollow else color, edgecolor=color, zorder=3)
        if not hollow:
            left = network.startswith("red")  # its line lies to the left of the others
            style = {"ha": "right" if left else "left", "fontsize": 6, "color": "0.25"}
            axes.annotate(network, xy, (-5, 4) if left else (5, -8), textcoords="offset points", **style)


def current() -> bool:
    """Whether the figures that the plot was drawn from, which it carries along, are those of the records."""
    drawn = re.search(r"<dc:description>(.*?)</dc:description>", PATH.read_text(), re.DOTALL) if PATH.exists() else None
    return drawn is not None and json.loads(drawn[1]) == json.loads(json.dumps(points()))


def write() -> None:
    """Draw the plot; the same figures give the same bytes."""
    found = points()
    with matplotlib.rc_context({"svg.hashsalt": "involution", "svg.fonttype": "none", "font.size": 9}):
        draw(found).savefig(PATH, metadata={"Date": None, "Description": json.dumps(found)})


def main() -> int:
    """Return 0, or 1 if the plot is not that of the records and may not be written."""
    parser = argparse.ArgumentParser(description="Draw measured time against multiply-adds, or check the drawing.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="draw it")
    action.add_argument("--check", action="store_true", help="exit with 1 if it is not current")
    if parser.parse_args().write:
        write()
    elif not current():
        print(f"stale: {PATH.name}; run: python benchmarks/latency_plot.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
