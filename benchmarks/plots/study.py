"""Top-1 of the study's networks against multiply-adds and against measured time."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measuring.record import load
from benchmarks.plots.labels import place
from benchmarks.plots.picture import Picture
from benchmarks.tables.study import CONFIG, plan, rows

Points = dict[str, dict[str, float]]


def points() -> Points:
    """Return by network: mean and standard deviation of top-1 in %, multiply-adds in M, and ms an image."""
    record, found = load(f"study/{CONFIG.stem}/costs"), {}
    for label in plan().networks:
        values = [100 * row["top1"] for row in rows(label)]
        if values:
            cost = record.one(label=label)
            times = {task: cost[f"{task}_median_ms"] / record.settings["batch"] for task in ("inference", "training")}
            deviation = stdev(values) if len(values) > 1 else 0.0
            found[label] = {"top1": mean(values), "deviation": deviation, "macs": cost["macs"] / 1e6, **times}
    return found


def draw(found: Points) -> Figure:
    """Draw a panel per cost; bars are one standard deviation over the seeds."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    names = {
        "macs": "multiply-adds, M",
        "inference": "inference, ms an image, one thread",
        "training": "training step, ms an image, one thread",
    }
    for axes, (name, title) in zip(figure.subplots(1, 3, sharey=True), names.items(), strict=True):
        marks = []
        for label, point in found.items():
            color = "tab:red" if label.startswith("RedNet") else "black"
            hollow: dict[str, Any] = {} if point["deviation"] else {"markerfacecolor": "white"}
            axes.errorbar(
                point[name], point["top1"], point["deviation"], fmt="o", color=color, markersize=5, capsize=3, **hollow
            )
            marks.append((label, point[name], point["top1"]))
        axes.set(xlabel=title)
        axes.margins(0.25, 0.12)
        axes.grid(alpha=0.3)
        place(axes, marks, [(x, y) for _, x, y in marks])
    figure.axes[0].set_ylabel("top-1, %")
    return figure


PICTURES = (Picture("study.svg", points, draw),)
