"""Tables of the study: networks of equal size under one recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev
from typing import Any

from scipy.stats import ttest_1samp, ttest_rel

from benchmarks.measuring.options import Row
from benchmarks.measuring.record import MEASURED, ROOT, Record, load
from benchmarks.study.plan import Plan, read
from benchmarks.tables.markdown import markdown, where

CONFIG, SEARCH = (ROOT / "benchmarks/study" / name for name in ("tiny_imagenet_50.yaml", "learning_rate.yaml"))
REFERENCE = "RedNet-26"
CHANGES = {"shifted": "top1_shifted", "occluded": "top1_occluded", "larger": "top1_larger"}


@dataclass(frozen=True)
class Pair:
    """A network against RedNet-26, with the same seeds.

    Attributes:
        difference: of the mean top-1.
        over_images: two-sided p of a paired t-test over the validation images; the answer to an image is the share of
            seeds that are right.
        over_seeds: the same over the seeds, None for less than three.
    """

    difference: float
    over_images: float
    over_seeds: float | None


@cache
def plan() -> Plan:
    """Return the study."""
    return read(CONFIG)


@cache
def records() -> list[Record]:
    """Return the records of all runs, those of seed 0 first."""
    folder = MEASURED / "study" / CONFIG.stem
    return [Record.read(path) for path in sorted(folder.glob("seed*/*.json"))]


def rows(label: str, lr: float | None = None, finished: bool = True) -> list[Row]:
    """Return the runs of a network with this learning rate, by default that of the recipe, in the order of seeds."""
    wanted = plan().recipe.lr if lr is None else lr
    found = [row for record in records() for row in record.all(label=label, lr=wanted)]
    return [row for row in found if row["status"] == "finished" or not finished]


def pair(label: str) -> Pair | None:
    """Compare a network with RedNet-26; None if they have no seed in common."""
    ours = {row["seed"]: row for row in rows(REFERENCE)}
    both = [(row, ours[row["seed"]]) for row in rows(label) if row["seed"] in ours]
    if not both or label == REFERENCE:
        return None
    answers = [[mean(column) for column in zip(*map(_answers, side), strict=True)] for side in zip(*both, strict=True)]
    differences = [one - other for one, other in zip(*answers, strict=True)]
    accuracies = [[row["top1"] for row in side] for side in zip(*both, strict=True)]
    seeds = float(ttest_rel(*accuracies).pvalue) if len(both) > 2 else None
    return Pair(mean(accuracies[0]) - mean(accuracies[1]), float(ttest_1samp(differences, 0).pvalue), seeds)


def _answers(row: Row) -> list[float]:
    count = records()[0].settings["images"]["test"]
    return [float(bit) for bit in f"{int(row['right'], 16):0{count}b}"]


def accuracy() -> str:
    """Return top-1 with its spread and the comparison with RedNet-26, of every network of the study."""

    def line(label: str) -> list[str]:
        found, failed = rows(label), [row for row in rows(label, finished=False) if row["status"] != "finished"]
        if not found:
            state = f"{failed[0]['status']}: {failed[0].get('error', 'the loss')}" if failed else "not run"
            return [label, state.replace("|", "/"), *[""] * 5]
        against = pair(label)
        compared = ["", "", ""]
        if against:
            seeds = "" if against.over_seeds is None else probability(against.over_seeds)
            compared = [f"{100 * against.difference:+.1f}", probability(against.over_images), seeds]
        state = f"{len(found)} runs" if len(found) > 1 else "1 run"
        state += "".join(f", {row['status']} with seed {row['seed']}" for row in failed)
        return [label, state, spread(found, "top1"), spread(found, "top5"), *compared]

    header = ["network", "runs", "top-1, %", "top-5, %", f"to {REFERENCE}", "p over images", "p over seeds"]
    return markdown(header, map(line, plan().networks), 2) + _where()


def sizes() -> str:
    """Return parameters, multiply-adds and measured time of every network, and what was adjusted."""
    record = load(f"study/{CONFIG.stem}/costs")
    ours = record.one(label=REFERENCE)

    def line(row: Row) -> list[str]:
        adjusted = ", ".join(f"`{name}={value}`" for name, value in row["options"].items() if name != "width_factor")
        if "error" in row:
            return [row["label"], f"`{row['network']}`", adjusted, row["error"], *[""] * 5]
        counts = []
        for name, unit, digits in (("params", 1e6, 2), ("macs", 1e6, 1)):
            counts += [f"{row[name] / unit:.{digits}f}", f"{100 * (row[name] / ours[name] - 1):+.1f} %"]
        batch = record.settings["batch"]
        times = [f"{row[f'{task}_median_ms'] / batch:.2f}" for task in ("inference", "training")]
        return [row["label"], f"`{row['network']}`", adjusted, *counts, *times]

    header = ["network", "in timm's registry", "adjusted", "params, M", "to RedNet", "multiply-adds, M", "to RedNet"]
    header += ["inference, ms an image", "training step, ms an image"]
    batch = f"batch {record.settings['batch']}, {record.settings['size_px']} x {record.settings['size_px']}, float32"
    return markdown(header, map(line, record.rows), 3) + where(record, batch, "eager")


def robustness() -> str:
    """Return top-1 on changed images, and the share of the usual top-1 that is left."""

    def line(label: str) -> list[str]:
        found = rows(label)
        usual = mean(row["top1"] for row in found)
        cells = []
        for name in CHANGES.values():
            cells += [spread(found, name), f"{mean(row[name] for row in found) / usual:.2f}"]
        return [label, spread(found, "top1"), *cells]

    header = ["network", "unchanged", *(word for name in CHANGES for word in (f"{name}, top-1, %", "left"))]
    return markdown(header, [line(label) for label in plan().networks if rows(label)]) + _where()


def rates() -> str:
    """Return top-1 of seed 0 with the learning rates of each side."""
    found = {one.lr for one in plan().runs}
    labels = list(dict.fromkeys(one.label for one in plan().runs if not one.usual_lr))

    def cell(label: str, lr: float) -> str:
        runs = [row for row in rows(label, lr, finished=False) if row["seed"] == 0]
        if not runs:
            return "not run"
        return f"{100 * runs[0]['top1']:.1f}" if runs[0]["status"] == "finished" else str(runs[0]["status"])

    lines = [[label, *(cell(label, lr) for lr in sorted(found))] for label in labels]
    return markdown(["network", *(f"{lr:g}" for lr in sorted(found))], lines) + _where("top-1 of seed 0, %")


def search() -> str:
    """Return the search for the learning rate."""
    found = [Record.read(path) for path in sorted((MEASURED / "study" / SEARCH.stem).glob("seed*/*.json"))]
    runs = sorted((row for record in found for row in record.rows), key=lambda row: row["lr"])
    lines = [[f"{row['lr']:g}", f"{100 * row['top1']:.1f}", f"{row['curve'][-1]['train_loss']:.3f}"] for row in runs]
    epochs, images = found[0].settings["recipe"]["epochs"], found[0].settings["images"]
    words = f"{_epochs(epochs)} on {images['train']} training images, top-1 on the other {images['test']}"
    return markdown(["learning rate", "top-1, %", "training loss"], lines) + where(found[0], words)


def hours() -> str:
    """Return the processor time of all runs of the study, and of the search."""
    folder = MEASURED / "study"
    found = [row for path in folder.glob("*/seed*/*.json") for row in Record.read(path).rows]
    minutes = sum(row.get("train_cpu_s", 0) for row in found) / 60
    return f"{minutes:.0f} minutes of one core" if minutes < 180 else f"{minutes / 60:.1f} hours of one core"


def spread(found: list[Row], name: str) -> str:
    """Format the mean in %, and the standard deviation if there are at least two runs."""
    values = [100 * row[name] for row in found]
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def probability(p: float) -> str:
    """Format a probability."""
    return "< 0.001" if p < 1e-3 else f"{p:.3f}"


def card() -> str:
    """Return the facts of the weights of the package."""
    record = load("study/pretrained")
    (row,) = record.rows
    facts: list[list[str]] = [
        ["parameters", f"{row['params'] / 1e6:.2f} M, in float16"],
        ["file", f"{row['file_mib']:.1f} MiB"],
        ["top-1", f"{100 * row['top1']:.1f} % of {row['images']} validation images"],
        ["top-5", f"{100 * row['top5']:.1f} %"],
        ["command", f"`{record.command}`"],
    ]
    return markdown(["", ""], facts, 2)


def _where(*details: str) -> str:
    record, recipe = records()[0], plan().recipe
    return where(record, _epochs(recipe.epochs), *details)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count > 1 else ''}"


VALUES: dict[str, Callable[[], str]] = {"study-hours": hours}
BLOCKS: dict[str, Callable[[], Any]] = {
    "study": accuracy,
    "study-sizes": sizes,
    "study-robustness": robustness,
    "study-rates": rates,
    "study-search": search,
    "pretrained": card,
}
