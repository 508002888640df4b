"""Learning curves of the runs of configs/camvid.yaml and configs/pennfudan.yaml."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.measuring.options import Row
from benchmarks.measuring.record import load
from benchmarks.plots.picture import Picture

COLORS = ("tab:red", "black", "tab:blue", "tab:green", "tab:orange", "tab:purple")


def camvid(rows: list[Row]) -> Figure:
    """Draw losses and mean IoU by epoch."""
    figure = Figure(figsize=(7.5, 2.8), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for row, color in zip(rows, COLORS, strict=False):
        for axes, name, style in ((losses, "train/loss", "-"), (losses, "val/loss", "--"), (scores, "val/miou", "-")):
            _line(axes, row["curve"], name, row["model"], color, style)
    losses.set(title="cross-entropy; dashed: validation", xlabel="epoch")
    scores.set(title="mean IoU on the validation images", xlabel="epoch")
    scores.legend(frameon=False, fontsize=7, loc="lower right")
    return figure


def pennfudan(rows: list[Row]) -> Figure:
    """Draw the losses by epoch."""
    figure = Figure(figsize=(5, 2.8), layout="constrained")
    axes = figure.subplots()
    names = [name for name in rows[0]["curve"][0] if name.startswith("train/")]
    for name, color in zip(names, COLORS, strict=True):
        label = "sum" if name == "train/loss" else name.removeprefix("train/")
        _line(axes, rows[0]["curve"], name, label, color, "-")
    axes.set(title="training losses", xlabel="epoch", ylim=(0, None))
    axes.legend(frameon=False, fontsize=7)
    return figure


def _line(axes: Axes, curve: list[Row], name: str, label: str, color: str, style: str) -> None:
    points = [(at["epoch"], at[name]) for at in curve if name in at]
    axes.plot(*zip(*points, strict=True), style, color=color, label=label, marker=".", markersize=3)
    axes.spines[["top", "right"]].set_visible(False)


PICTURES = (
    Picture("camvid.svg", lambda: load("accuracy/camvid").rows, camvid),
    Picture("pennfudan.svg", lambda: load("accuracy/pennfudan").rows, pennfudan),
)
