"""Write the network of a finished run as weights of the package, in float16 with names and preprocessing.

python -m benchmarks.study.publish STATE RECORD CLASSES rednet26_half.tin50

STATE is the run's file in the folder of `--state`, RECORD its record, CLASSES a folder with one folder per class.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring.record import Record
from involution.explore.weights import in_words
from involution.weights import write_weights
from involution.weights.pretrained import FOLDER


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study.publish", description=__doc__)
    parser.add_argument("state", type=Path, help="of the run, in the folder of --state")
    parser.add_argument("record", type=Path, help="of the run")
    parser.add_argument("classes", type=Path, help="folder of the images, with a folder per class")
    parser.add_argument("name", help="network and data, such as rednet26_half.tin50")
    given = parser.parse_args()
    (row,) = Record.read(given.record).rows
    words = in_words(sorted(folder.name for folder in given.classes.iterdir() if folder.is_dir()))
    weights = torch.load(given.state, map_location="cpu", weights_only=True)["network"]
    facts = {
        "network": row["network"],
        "options": row["options"],
        "classes": words,
        "eval_transform": {"resize": 64, "crop": 64, "channels": 3, "antialias": True},
    }
    path = FOLDER / f"{given.name}.safetensors"
    write_weights(path, {key: _half(value) for key, value in weights.items()}, facts)
    path.chmod(0o644)  # safetensors lets the owner alone read its files


def _half(value: Tensor) -> Tensor:
    """Return a tensor in float16; counters stay integers."""
    short = value.half() if value.is_floating_point() else value
    if not short.isfinite().all():
        raise ValueError(f"weights: expected values of float16, got up to {value.abs().max():g}")
    return short


if __name__ == "__main__":
    main()
