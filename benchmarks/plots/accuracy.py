"""Published accuracy against multiply-adds, for the networks of the paper and later networks of timm."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plots.labels import place
from benchmarks.plots.picture import Picture
from benchmarks.tables.published import counted, published

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
RECIPES = {"plain recipe": ("s", "0.45"), "long recipe": ("^", "white")}

Points = dict[str, list[Any]]
"""By family or recipe: name, multiply-adds in G, top-1 in %."""


def points() -> Points:
    """Return the published accuracy, with our counts."""
    found: Points = {name: [] for name in (*COLORS, *RECIPES)}
    for row in published("table1"):
        found[family(row["label"])].append([row["label"], counted(row)["macs"], row["top1"]])
    for row in published("modern"):
        recipe = "plain recipe" if is_plain(row["model"]) else "long recipe"
        found[recipe].append([row["model"].partition("_in1k")[0], counted(row)["macs"], row["top1"]])
    return found


def family(label: str) -> str:
    """Return the label of a row of Table 1 without its depth or size."""
    name = label.rpartition("-")[0] or label
    return name.rstrip("0123456789")


def is_plain(model: str) -> bool:
    """Whether the recipe, the part of a timm name after the dot, is similar to RedNet's."""
    return model.partition(".")[2].startswith(PLAIN) and "tv2" not in model


def draw(found: Points) -> Figure:
    """Draw lines for the families of Table 1, and labelled marks for networks of timm."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots()
    for name, color in COLORS.items():
        _, macs, accuracies = zip(*found[name], strict=True)
        width = 2.2 if name == "RedNet" else 1
        axes.plot(macs, accuracies, "o-", color=color, markersize=5, linewidth=width, label=f"{name} (Table 1)")
    for name, (marker, face) in RECIPES.items():
        _, macs, accuracies = zip(*found[name], strict=True)
        axes.scatter(macs, accuracies, marker=marker, s=26, facecolor=face, edgecolor="0.3", label=f"timm, {name}")
    axes.set(
        xscale="log",
        xlabel="multiply-adds at the size of evaluation, G (counted here)",
        ylabel="published top-1 on ImageNet, %",
    )
    axes.set_xlim(0.18, 14)
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["0.25", "0.5", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    _name(axes, found)
    return figure


def timm_points(found: Points) -> Points:
    """Return the points that have labels."""
    return {name: found[name] for name in RECIPES}


def _name(axes: Axes, found: Points) -> None:
    lines = [[(x, y) for _, x, y in found[name]] for name in COLORS]
    named = [point for members in timm_points(found).values() for point in members]
    place(axes, named, [(x, y) for _, x, y in named], lines)


PICTURES = (Picture("accuracy.svg", points, draw),)
