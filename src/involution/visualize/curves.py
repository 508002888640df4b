"""Learning curves from the CSV logs of Lightning."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Curve = list[tuple[float, float]]
"""(epoch, value), an epoch ending at a whole number."""


def read_curves(run: str | Path) -> dict[str, Curve]:
    """Return the curve of every quantity that is logged once per epoch, by name.

    Lightning numbers epochs from 0 and logs at their ends; here the end of the first epoch is 1. If a resumed run
    repeated an epoch, the last value is used.

    Args:
        run: `metrics.csv`, its folder `version_N`, or a folder of such folders, of which the latest is read.

    Raises:
        ValueError: there is no log, or it has no epochs.
    """
    path = _find(Path(run))
    found: dict[str, dict[float, float]] = defaultdict(dict)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"run: expected a CSV log of a training, got {path}, which is not a CSV file ({error})"
        ) from None
    for row in rows:
        for name, text in row.items():
            per_step = name.endswith(("_step", "_s"))  # such as loss_step and images_per_s
            if name not in ("epoch", "step") and not per_step and text and row.get("epoch"):
                try:
                    found[name][float(row["epoch"]) + 1] = float(text)
                except (TypeError, ValueError):
                    raise ValueError(f"run: expected numbers in {path}, got {text!r} for {name}") from None
    if not found:
        raise ValueError(f"run: expected the log of a training, got {path} without epochs")
    return {name: sorted(values.items()) for name, values in found.items()}


def draw_curves(runs: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Draw one panel per quantity, named by the part behind the last slash, with one colour per run.

    Training curves are dashed, validation curves solid.

    Args:
        runs: curves by the name of the run, from `read_curves`.
    """
    kinds = sorted({_kind(name) for curves in runs.values() for name in curves})
    figure = Figure(figsize=(4.2 * len(kinds), 3.2), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axis, kind in zip(panels, kinds, strict=True):
        for number, (run, curves) in enumerate(runs.items()):
            for name in sorted(name for name in curves if _kind(name) == kind):
                stage = name.partition("/")[0] if "/" in name else ""
                label = " ".join(part for part in (run if len(runs) > 1 else "", stage) if part) or name
                style = {"linestyle": "--", "linewidth": 1.0} if stage == "train" else {"linewidth": 1.8}
                axis.plot(*zip(*curves[name], strict=True), color=f"C{number}", marker=".", label=label, **style)
        axis.set(xlabel="epoch", ylabel=kind, xlim=(0, None))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    return figure


def _kind(name: str) -> str:
    return "learning rate" if name.startswith("lr-") else name.rpartition("/")[2]


def _find(run: Path) -> Path:
    if run.is_file():
        return run
    if not run.is_dir():
        raise ValueError(f"run: expected a folder of `involution fit`, got {run}, which does not exist")
    logs = [run / "metrics.csv", *sorted(run.glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime)]
    logs = [path for path in logs if path.is_file()]
    if not logs:
        raise ValueError(f"run: expected a folder of `involution fit`, got {run} without metrics.csv")
    return logs[-1]
