"""Test finished runs of configs/camvid.yaml, and record their learning curves.

python -m benchmarks run camvid -- runs/camvid/version_0 runs/camvid/version_1 --root PATH
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.accuracy import finished
from benchmarks.measuring.options import Measured, Options, Row

CURVES = ("train/loss", "val/loss", "val/miou", "val/accuracy")


def run(options: Options) -> Measured:
    """Test the best checkpoint of every run."""
    settings: Row = {"config": "configs/camvid.yaml"}
    if options.dry_run:
        return Measured([], settings)
    runs, root = finished.arguments(options.arguments, "camvid")
    return Measured([measure(run, root) for run in runs], settings)


def measure(run: Path, root: str) -> Row:
    """Return the settings of a run, its learning curves, and its test metrics."""
    config = finished.config(run)
    given, trainer = config["model"]["init_args"], config["trainer"]
    precision, network, neck = trainer["precision"] or "32-true", given["network"], given["options"]["neck"]
    settings = f"--trainer.precision {precision} --model.network {network} --model.options.neck {neck}"
    return {
        "fit": f"involution fit --config configs/camvid.yaml --data.root PATH {settings}",
        "model": f"{given['segmentor']}/{network}/{neck}",
        "epochs": trainer["max_epochs"],
        "precision": precision,
        "duration_s": finished.duration_s(run),
        "curve": finished.curve(run, CURVES),
        **finished.tested(run, root, "best.ckpt"),
    }
