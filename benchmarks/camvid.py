"""Measure finished runs of configs/camvid.yaml on the test images, beside what they learned by the epoch.

    python benchmarks/camvid.py runs/camvid/version_0 runs/camvid/version_1 --root PATH

PATH is where CamVid lies. Writes results/measured/segmentation-camvid.json and docs/images/camvid.svg.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import torch
import yaml
from matplotlib import pyplot as plt
from measure import ROOT, machine, write
from segmentation_tables import CAMVID
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CURVES = ("train/loss", "val/loss", "val/miou", "val/accuracy")


def measure(run: Path, root: str) -> dict[str, Any]:
    """Return what a run is, how it went, and the test figures of its best checkpoint, in units of 1."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    given, trainer = config["model"]["init_args"], config["trainer"]
    command = [sys.executable, "-m", "involution", "test", f"--config={run / 'config.yaml'}", f"--data.root={root}"]
    command += [f"--ckpt_path={run / 'checkpoints/best.ckpt'}", "--json"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    precision, network, neck = trainer["precision"] or "32-true", given["network"], given["options"]["neck"]
    settings = f"--trainer.precision {precision} --model.network {network} --model.options.neck {neck}"
    return {
        "fit": f"involution fit --config configs/camvid.yaml --data.root PATH {settings}",
        "model": f"{given['segmentor']}/{network}/{neck}",
        "epochs": trainer["max_epochs"],
        "precision": precision,
        "seconds": round(duration(run)),
        "curve": curve(run / "metrics.csv"),
        **json.loads(answer),
    }


def duration(run: Path) -> float:
    """Return the seconds between the first and the last figure that was logged."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    times = [event.wall_time for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    return max(times) - min(times)


def curve(path: Path, names: Sequence[str] = CURVES) -> list[dict[str, float]]:
    """Return what was logged at the end of every epoch."""
    epochs: dict[int, dict[str, float]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            found = {name: round(float(row[name]), 4) for name in names if row.get(name)}
            if found:
                epochs.setdefault(int(row["epoch"]), {}).update(found)
    return [{"epoch": epoch + 1, **found} for epoch, found in sorted(epochs.items())]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the learning curves."""
    plt.rcParams |= {"svg.hashsalt": "", "font.size": 8}
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    for row, color in zip(rows, ("tab:red", "black"), strict=False):
        for place, name, style in ((0, "train/loss", "-"), (0, "val/loss", "--"), (1, "val/miou", "-")):
            points = [(at["epoch"], at[name]) for at in row["curve"] if name in at]
            axes[place].plot(
                *zip(*points, strict=True), style, color=color, label=row["model"], marker=".", markersize=3
            )
    for place, title in enumerate(("cross-entropy; dashed: validation", "mean IoU on the validation images")):
        axes[place].set(title=title, xlabel="epoch")
        axes[place].spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, fontsize=6, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(description="Measure runs of configs/camvid.yaml.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders that `involution fit` wrote")
    parser.add_argument("--root", required=True, help="where CamVid lies")
    given = parser.parse_args()
    rows = [measure(run, given.root) for run in given.runs]
    # Where images and runs lie on a machine is nobody's business.
    record = {
        **machine(torch.device("cpu")),
        "command": "python benchmarks/camvid.py RUN RUN --root PATH",
        "rows": rows,
    }
    write(ROOT / CAMVID, record)
    draw(rows, ROOT / "docs/images/camvid.svg")
    for row in rows:
        print(f"{row['model']}: mean IoU {row['test/miou']:.4f}, {row['seconds'] / 60:.0f} min")


if __name__ == "__main__":
    main()
