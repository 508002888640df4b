"""Evaluate the weights of the package on their validation images.

    python -m benchmarks run pretrained -- --root PATH

The record is study/pretrained.json; the model card and the documentation quote it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.measuring.options import Measured, Options, Row
from involution.data import ImageFolder
from involution.explore.weights import in_words
from involution.tasks import Classification, load_task
from involution.weights import DEFAULT, PRETRAINED

BATCH = 250


def run(options: Options) -> Measured:
    """Evaluate the default weights."""
    settings: Row = {"weights": DEFAULT}
    if options.dry_run:
        return Measured([], settings)
    parser = argparse.ArgumentParser(prog="python -m benchmarks run pretrained --", description="Evaluate weights.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the images")
    given = parser.parse_args(list(options.arguments))
    return Measured([evaluate(given.root, options.device)], settings)


def evaluate(root: Path, device: torch.device) -> Row:
    """Return the size of the file, and the accuracy on the validation images.

    Raises:
        ValueError: the folders are not the classes of the weights.
    """
    task = load_task(DEFAULT)
    assert isinstance(task, Classification)
    folder = ImageFolder(str(root), size=64, resize=64, padding=None, batch_size=BATCH)
    if in_words(folder.classes) != task.classes:
        raise ValueError(f"root: expected a folder for each of {', '.join(task.classes)}, got {root} with others")
    source, right = folder.read_splits().val, {1: 0, 5: 0}
    task.eval().to(device)
    for start in range(0, len(source), BATCH):
        indices = range(start, min(start + BATCH, len(source)))
        images = torch.stack([task.eval_transform(source.image(index)) for index in indices])
        labels = torch.from_numpy(source.labels[start : indices.stop]).to(device)
        with torch.inference_mode():
            top = task(images.to(device)).topk(5).indices == labels[:, None]
        for k in right:
            right[k] += int(top[:, :k].any(1).sum())
    size = PRETRAINED[DEFAULT].stat().st_size
    params = sum(parameter.numel() for parameter in task.net.parameters())
    accuracies = {f"top{k}": count / len(source) for k, count in right.items()}
    return {"name": DEFAULT, "images": len(source), "params": params, "file_mib": size / 2**20, **accuracies}
