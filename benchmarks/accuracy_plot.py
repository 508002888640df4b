"""Published accuracy against multiply-adds: the paper's networks, and those that the critic compares them with."""

from __future__ import annotations

from math import log2
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import complexity_tables as tables
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

PLAIN = ("pycls", "tv", "gluon")
"""Recipes near to RedNet's in length and augmentation."""

COLORS = {
    "RedNet": "tab:red",
    "ResNet": "black",
    "LR-Net": "tab:brown",
    "Stand-Alone ResNet": "tab:purple",
    "SAN": "tab:green",
    "AA-ResNet": "tab:orange",
    "Axial ResNet": "tab:blue",
}


def family(label: str) -> str:
    """Return the label of a row of Table 1 without its depth or size."""
    name = label.rpartition("-")[0] or label
    return name.rstrip("0123456789")


def draw(path: Path) -> None:
    """Write the plot; the same figures give the same bytes."""
    plt.rcParams.update({"svg.hashsalt": "involution", "svg.fonttype": "none", "font.size": 9})
    figure, axes = plt.subplots(figsize=(8.5, 6), layout="constrained")
    rows = tables.published("table1")
    points: list[tuple[str, float, float]] = []
    for name, color in COLORS.items():
        members = [row for row in rows if family(row["label"]) == name]
        macs = [tables.counted(row)["macs"] for row in members]
        style = {"marker": "o", "linewidth": 2.2} if name == "RedNet" else {"marker": "o", "linewidth": 1}
        axes.plot(macs, [row["top1"] for row in members], color=color, markersize=5, label=f"{name} (Table 1)", **style)
    for recipe, marker, face, plain in [("plain recipe", "s", "0.45", True), ("long recipe", "^", "white", False)]:
        members = [row for row in tables.published("modern") if is_plain(row["model"]) == plain]
        macs = [tables.counted(row)["macs"] for row in members]
        accuracies = [row["top1"] for row in members]
        axes.scatter(macs, accuracies, marker=marker, s=26, facecolor=face, edgecolor="0.3", label=f"timm, {recipe}")
        points += [
            (row["model"].partition("_in1k")[0], x, y) for row, x, y in zip(members, macs, accuracies, strict=True)
        ]
    annotate(axes, points)
    axes.set(
        xscale="log",
        xlabel="multiply-adds at the size of evaluation, G (ours)",
        ylabel="published top-1 on ImageNet, %",
    )
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["0.25", "0.5", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def annotate(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """Write names beside points, on the side where there is room, or not at all."""
    taken: list[tuple[float, float]] = [(log2(x), y) for _, x, y in points]
    for name, x, y in points:
        # A name is about 0.4 octaves long and 0.13 points of accuracy high.
        for offset, below in [((3, -6), y - 0.1), ((3, 3), y + 0.1)]:
            start = log2(x) + 0.03
            if all(
                not (start - 0.5 < a < start + 0.4 and abs(below - b) < 0.13) or (a, b) == (log2(x), y)
                for a, b in taken
            ):
                axes.annotate(name, (x, y), offset, textcoords="offset points", fontsize=5.5, color="0.35")
                taken.append((start, below))
                break


def is_plain(model: str) -> bool:
    """Whether the recipe behind the dot of a name in timm is near to RedNet's."""
    return model.partition(".")[2].startswith(PLAIN) and "tv2" not in model
