"""Train a recipe for some steps with two processes, on made images of the real size.

    python -m benchmarks run recipe-steps -- imagenet --steps 200 --folder PATH

Batches are as small as batch norm allows; the learning rate follows by the linear rule. The record shows whether the
loss falls and the memory grows. The folder keeps the run: a call with more steps continues it from its checkpoint.
The record is training/RECIPE.json; its name ends with the allocator if that is not the default.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torchvision.io import decode_image
from torchvision.transforms.v2.functional import normalize

import involution.models  # noqa: F401  (registers the networks in timm)
from benchmarks.measuring import allocator
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.record import ROOT
from benchmarks.training.made_data import MADE

PROCESSES = 2
RECORDED = ("resident_mib", "peak_mib", "mask_proposals")


@dataclass(frozen=True)
class Short:
    """A recipe's data set, its smallest batch per process, whether it needs a backbone's weights, and arguments."""

    data: str
    batch_size: int
    needs_weights: bool = False
    arguments: tuple[str, ...] = ()


RECIPES = {
    "imagenet": Short("imagenet", 2),
    # The recipe's 2000 iterations. Of the made images, its part of an epoch is 9 steps, with which the loss diverges.
    "coco_faster_rcnn": Short("coco", 1, needs_weights=True, arguments=("--model.schedule.warmup_epochs=62.5",)),
    "coco_mask_rcnn": Short("coco", 1, needs_weights=True),
    "coco_retinanet": Short("coco", 1, needs_weights=True),
    "cityscapes_fpn": Short("cityscapes", 1),
    "cityscapes_upernet": Short("cityscapes", 2),  # pooling to one pixel leaves batch norm the batch alone
}


def run(options: Options) -> Measured:
    """Start or continue the run, and return all steps so far."""
    words = list(options.arguments) or (["imagenet", "--folder", "."] if options.dry_run else [])
    parser = argparse.ArgumentParser(prog="python -m benchmarks run recipe-steps --", description="Train some steps.")
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--steps", type=int, default=30, help="of the whole run")
    parser.add_argument("--folder", type=Path, required=True, help="for images, checkpoint and steps")
    given = parser.parse_args(words)
    recipe, folder = RECIPES[given.recipe], given.folder.resolve()
    variant = given.recipe + allocator.current().folder.removeprefix("cpu")
    settings: Row = {
        "config": f"configs/{given.recipe}.yaml",
        "processes": PROCESSES,
        "batch_size": recipe.batch_size,
        "threads_per_process": 1,
        "arguments": list(recipe.arguments),
    }
    if options.dry_run:
        return Measured([], settings, variant=variant)
    place = folder / variant
    if not (place / "0.jsonl").exists() or len(steps(place)) < given.steps:
        train(given.recipe, given.steps, folder, place)
    return Measured(steps(place), settings, variant=variant)


def train(name: str, steps: int, folder: Path, place: Path) -> None:
    """Train up to this number of steps, from the checkpoint in `place` if there is one. The images are in `folder`."""
    recipe = RECIPES[name]
    images = folder / "images" / recipe.data
    if not images.exists():
        MADE[recipe.data](images)
    place.mkdir(exist_ok=True)
    last = place / "last.ckpt"
    arguments = [
        f"--config=configs/{name}.yaml",
        f"--data.root={images}",
        f"--data.batch_size={recipe.batch_size}",
        "--data.num_workers=0",
        "--trainer.accelerator=cpu",
        f"--trainer.devices={PROCESSES}",
        f"--trainer.max_steps={steps}",
        "--trainer.limit_val_batches=0",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        f"--trainer.callbacks={json.dumps(callbacks(place))}",
        *recipe.arguments,
    ]
    if recipe.needs_weights:
        weights = folder / "rednet50.pt"
        if not weights.exists():
            pictures = [decode_image(str(path)) for path in sorted(images.glob("train*/*.jpg"))[:4]]
            torch.save(backbone("rednet50", torch.stack(pictures)).state_dict(), weights)
        arguments.append(f"--model.weights={weights}")
    if last.exists():
        arguments.append(f"--ckpt_path={last}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "-m", "involution", "fit", *arguments], check=True, cwd=ROOT, env=environment)


def backbone(name: str, images: Tensor) -> nn.Module:
    """Return a random classifier whose batch norms have the statistics of uint8 images [B, 3, H, W].

    Detectors freeze the norms. With initial statistics their features would be a tenth of those of a trained network.
    """
    torch.manual_seed(0)
    network = timm.create_model(name, stem_kernel_size=7)
    update_bn([normalize(images / 255, [*IMAGENET_DEFAULT_MEAN], [*IMAGENET_DEFAULT_STD])], network)
    return network


def callbacks(place: Path) -> list[Row]:
    """Return the callbacks of the run: a checkpoint at its end, and the recorder."""
    last = {"dirpath": str(place), "filename": "last", "every_n_train_steps": 10, "enable_version_counter": False}
    return [
        {"class_path": "ModelCheckpoint", "init_args": last},
        {"class_path": "benchmarks.training.recorder.Recorder", "init_args": {"folder": str(place)}},
    ]


def steps(place: Path) -> list[Row]:
    """Return a row per step: the mean loss of the processes, the largest time, and what each process recorded."""
    ranks = [
        {row["step"]: row for row in map(json.loads, (place / f"{rank}.jsonl").read_text().splitlines())}
        for rank in range(PROCESSES)
    ]
    return [
        {
            "step": step,
            "loss": round(sum(rank[step]["loss"] for rank in ranks) / PROCESSES, 4),
            "step_s": max(rank[step]["seconds"] for rank in ranks),
            **{field: [rank[step][field] for rank in ranks] for field in RECORDED if field in ranks[0][step]},
        }
        for step in sorted(ranks[0].keys() & ranks[1].keys())
    ]
