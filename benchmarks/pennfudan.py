"""Measure a finished run of configs/pennfudan.yaml on the held-out images, beside what it learned by the epoch.

    python benchmarks/pennfudan.py runs/pennfudan/version_0 --root PATH

PATH is where Penn-Fudan lies. Writes results/measured/accuracy-pennfudan.json and docs/images/pennfudan.svg.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import torch
import yaml
from camvid import curve, duration
from detection_tables import PENNFUDAN
from matplotlib import pyplot as plt
from measure import ROOT, machine, write

LOSSES = ("loss", "objectness", "rpn_box_reg", "classifier", "box_reg", "mask")
FIGURES = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")


def measure(run: Path, root: str) -> dict[str, Any]:
    """Return how a run went, and the test figures of its last checkpoint, in units of 1."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    command = [sys.executable, "-m", "involution", "test", f"--config={run / 'config.yaml'}", f"--data.root={root}"]
    command += [f"--ckpt_path={run / 'checkpoints/last.ckpt'}", "--json"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    names = [*(f"train/{loss}" for loss in LOSSES), *(f"val/{figure}" for figure in FIGURES)]
    return {
        "epochs": config["trainer"]["max_epochs"],
        "seconds": round(duration(run)),
        "curve": curve(run / "metrics.csv", names),
        **json.loads(answer),
    }


def draw(points: list[dict[str, float]], path: Path) -> None:
    """Draw the losses by the epoch."""
    plt.rcParams |= {"svg.hashsalt": "", "font.size": 8}
    figure, axes = plt.subplots(figsize=(4.5, 2.6), layout="constrained")
    for name in LOSSES:
        found = [(at["epoch"], at[f"train/{name}"]) for at in points if f"train/{name}" in at]
        axes.plot(*zip(*found, strict=True), label="sum" if name == "loss" else name, marker=".", markersize=3)
    axes.set(title="losses", xlabel="epoch", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=6)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(description="Measure a run of configs/pennfudan.yaml.")
    parser.add_argument("run", type=Path, help="folder that `involution fit` wrote")
    parser.add_argument("--root", required=True, help="where Penn-Fudan lies")
    given = parser.parse_args()
    found = measure(given.run, given.root)
    # Where images and runs lie on a machine is nobody's business.
    write(
        ROOT / PENNFUDAN,
        {**machine(torch.device("cpu")), "command": "python benchmarks/pennfudan.py RUN --root PATH", **found},
    )
    draw(found["curve"], ROOT / "docs/images/pennfudan.svg")
    print(f"box AP50 {found['test/box_ap50']:.3f}, mask AP50 {found['test/mask_ap50']:.3f}")


if __name__ == "__main__":
    main()
