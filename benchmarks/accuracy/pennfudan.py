"""Test a finished run of configs/pennfudan.yaml on the held-out images, and record its learning curves.

python -m benchmarks run pennfudan -- runs/pennfudan/version_0 --root PATH
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.accuracy import finished
from benchmarks.measuring.options import Measured, Options, Row

LOSSES = ("loss", "objectness", "rpn_box_reg", "classifier", "box_reg", "mask")
FIGURES = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")


def run(options: Options) -> Measured:
    """Test the last checkpoint."""
    settings: Row = {"config": "configs/pennfudan.yaml"}
    if options.dry_run:
        return Measured([], settings)
    runs, root = finished.arguments(options.arguments, "pennfudan")
    return Measured([measure(run, root) for run in runs], settings)


def measure(run: Path, root: str) -> Row:
    """Return the learning curves of a run, and its test metrics."""
    names = [*(f"train/{loss}" for loss in LOSSES), *(f"val/{figure}" for figure in FIGURES)]
    return {
        "epochs": finished.config(run)["trainer"]["max_epochs"],
        "duration_s": finished.duration_s(run),
        "curve": finished.curve(run, names),
        **finished.tested(run, root, "last.ckpt"),
    }
