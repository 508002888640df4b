"""Train networks of equal size under one recipe, with several seeds.

    python -m benchmarks run study --budget SECONDS -- benchmarks/study/tiny_imagenet_50.yaml --root PATH

Every run has a record, study/CONFIG/SEED/NETWORK.json. A call continues where the last one ended: runs that have a
record are left out, and one that was begun continues after its last complete epoch, from a file in the folder of
`--state`. Several calls may work on one study at the same time; a run belongs to one of them.
"""

from __future__ import annotations

import argparse
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.study.images import Images, hold_out, load
from benchmarks.study.plan import Plan, Run, read
from benchmarks.study.robustness import CHANGES
from benchmarks.study.training import Training
from involution.models.counting.complexity import profile


def run(options: Options) -> Measured | Iterator[Measured]:
    """Return the runs that this call finishes, each as soon as it is."""
    if options.dry_run:
        return Measured([])
    parser = argparse.ArgumentParser(prog="python -m benchmarks run study --", description="Train equal networks.")
    parser.add_argument("config", type=Path, help="YAML file of the study")
    parser.add_argument("--root", type=Path, help="folder of the images (default: that of the YAML file)")
    parser.add_argument("--state", type=Path, default=Path("runs/study"), help="folder for what is not finished")
    given = parser.parse_args(list(options.arguments))
    plan = read(given.config)
    return study(plan, given.root or Path(plan.data), given.state / given.config.stem, options)


def study(plan: Plan, root: Path, state: Path, options: Options) -> Iterator[Measured]:
    """Do the runs of a plan that have no record, in its order, until the budget is spent."""
    torch.set_num_threads(plan.recipe.threads)
    splits = load(root, state.parent / f"{root.name}.pt")
    images, test = splits["train"], splits["val"]
    if plan.recipe.held_out:
        images, test = hold_out(images, plan.recipe.held_out)
    images, test = images.to(options.device), test.to(options.device)
    settings: Row = {"config": plan.config, "recipe": asdict(plan.recipe), "accelerator": options.target}
    settings |= {"images": {"train": len(images), "test": len(test)}}
    for one in plan.runs:
        variant = f"{Path(plan.config).stem}/{one.name}"
        recorded = options.out / "study" / f"{variant}.json"
        place = state / f"{one.name}.pt"
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.with_suffix(".lock")) as free:
            if not free or recorded.exists():
                continue
            row = _row(plan, one, place, images, test, options)
            if row is None:
                options.budget.skipped.append(one.name)
                return
            yield Measured([row], settings, variant=variant)


def _row(plan: Plan, one: Run, place: Path, images: Images, test: Images, options: Options) -> Row | None:
    """Return the figures of a run, None if the budget is spent before its end. A run that fails is a row too."""
    row: Row = {"label": one.label, "network": one.network, "options": one.options, "seed": one.seed, "lr": one.lr}
    try:
        training = Training(one, plan.recipe, len(test.classes), options.device, place)
        height, width = test.pixels.shape[-2:]
        counts = profile(one.network, (height, width), num_classes=len(test.classes), **one.options)
        row |= {"params": counts["params"], "macs": counts["macs"]}
        if not training.train(images, test, options.budget):
            return None
        row |= {
            "status": "diverged" if training.diverged else "finished",
            "train_cpu_s" if options.target == "cpu" else "train_s": round(training.seconds, 1),
            "peak_memory_mib": round(training.peak_mib),
            "commits": training.commits,
            "curve": training.curve,
        }
        return row if training.diverged else {**row, **evaluate(training, test)}
    except Exception as error:  # a run that fails is a result
        return {**row, "status": "failed", "error": f"{type(error).__name__}: {error}"}


def evaluate(training: Training, test: Images) -> Row:
    """Return top-1 and top-5 on the images and top-1 on changed ones; and which images are right, as bits in hex."""
    found: Row = {name: training.curve[-1][name] for name in ("top1", "top5")}
    right = training.logits(test.pixels).argmax(1) == test.labels
    for name, change in CHANGES.items():
        changed = training.logits(change(test.pixels)).argmax(1) == test.labels
        found[f"top1_{name}"] = changed.float().mean().item()
    bits = "".join("1" if answer else "0" for answer in right.tolist())
    return {**found, "right": f"{int(bits, 2):0{-(-len(bits) // 4)}x}"}


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Lock a file; give whether it was free. The lock ends with the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
