"""Kill a training run at random points, resume it, and compare its weights with those of an uninterrupted run.

    python tests/kill_points.py --points 20

Every point is a SIGKILL: before a training step, while a checkpoint is being written, or just before or after it gets
its name. Prints a line per point and ends with status 1 unless all weights are equal bit for bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from involution.cli import main
from involution.tasks import Classification, saving

BATCHES, EPOCHS, EVERY = 5, 3, 2  # checkpoints fall into the middle of epochs and on their ends
STEPS = BATCHES * EPOCHS
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([Path(__file__).stem])


class KillPoint(NamedTuple):
    """The point at which a run is killed."""

    kind: str  # "step", "write", "before rename" or "after rename"
    number: int  # of the step or of the checkpoint, from 0
    share: float  # of the checkpoint that is written before the end, for "write"


def draw(rng: random.Random) -> KillPoint:
    """Draw a point; half of them are at checkpoints."""
    kind = rng.choice(["step", "step", "step", "write", "before rename", "after rename"])
    return KillPoint(kind, rng.randrange(STEPS if kind == "step" else STEPS // EVERY), rng.random())


def recipe(folder: Path) -> Path:
    """Write the configuration of the run."""
    last = {"filename": "last", "every_n_train_steps": EVERY, "enable_version_counter": False}
    content = {
        "seed_everything": 3,
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": EPOCHS,
            "default_root_dir": str(folder / "runs"),
            "enable_progress_bar": False,
            "callbacks": [{"class_path": "ModelCheckpoint", "init_args": last}],
        },
        "model": {
            "class_path": "Classification",
            "init_args": {
                "network": "rednet26",
                "options": {"stem_stride": 1, "drop_rate": 0.2, "mid_widths": [16, 16, 32, 32]},
                "label_smoothing": 0.1,
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0e-3}},
                "schedule": {"class_path": "CosinePerEpoch", "init_args": {"warmup_epochs": 1, "warmup_factor": 0.1}},
            },
        },
        "data": {
            "class_path": "Synthetic",
            "init_args": {"size": 8, "num_classes": 3, "batch_size": 4, "images": 4 * BATCHES, "num_workers": 0},
        },
    }
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "recipe.yaml"


def install(point: KillPoint) -> None:
    """Kill this process at the point."""
    seen = {"step": -1, "write": -1, "rename": -1}

    def reached(event: str) -> bool:
        seen[event] += 1
        return seen[event] == point.number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    step, write, rename = Classification.training_step, saving._write, os.replace

    def training_step(task, batch, index):
        if reached("step") and point.kind == "step":
            die()
        return step(task, batch, index)

    def writing(file, data):
        if reached("write") and point.kind == "write":
            write(file, data[: int(point.share * len(data))])
            file.flush()
            die()
        write(file, data)

    def renaming(source, target):
        now = str(target).endswith(".ckpt") and reached("rename")
        if now and point.kind == "before rename":
            die()
        rename(source, target)
        if now and point.kind == "after rename":
            die()

    Classification.training_step, saving._write, os.replace = training_step, writing, renaming


def train(config: Path, arguments: tuple[str, ...], point: KillPoint | None) -> None:
    """Train up to the point, and exit."""
    torch.set_num_threads(1)
    warnings.simplefilter("default")  # tests turn warnings into errors
    if point is not None:
        install(point)
    sys.exit(main(["fit", f"--config={config}", "--json", *arguments]))


def fit(config: Path, *arguments: str, point: KillPoint | None = None) -> int | None:
    """Train in a process of its own, up to the point; return its exit status, negative for a signal.

    Processes are forked by a server that has the imports and no threads: autograd refuses to run in a fork of a process
    in which its threads have run.
    """
    process = SERVER.Process(target=train, args=(config, arguments, point))
    process.start()
    process.join()
    return process.exitcode


def weights(config: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the finished run, and its optimizer's state."""
    checkpoint = torch.load(next(config.parent.rglob("last.ckpt")), weights_only=True)
    assert checkpoint["global_step"] >= STEPS - STEPS % EVERY, checkpoint["global_step"]
    moments = checkpoint["optimizer_states"][0]["state"]
    extra = {f"{i}.{name}": value for i, state in moments.items() for name, value in state.items()}
    return {**checkpoint["state_dict"], **extra}


def survives(point: KillPoint, folder: Path, expected: dict[str, torch.Tensor]) -> bool:
    """Kill a run at the point, resume it, and compare."""
    config = recipe(folder)
    assert fit(config, point=point) == -signal.SIGKILL, point
    saved = sorted(folder.rglob("last.ckpt"))
    for path in saved:
        torch.load(path, weights_only=True)  # is complete
    assert fit(config, *(f"--ckpt_path={path}" for path in saved)) == 0, point
    found = weights(config)
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def reference(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of an uninterrupted run."""
    config = recipe(folder)
    assert fit(config) == 0
    return weights(config)


def run() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, equal = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as root:
        expected = reference(Path(root) / "reference")
        for number in range(arguments.points):
            point = draw(rng)
            same = survives(point, Path(root) / str(number), expected)
            equal += same
            print(f"{number:3} {point.kind:13} {point.number:3} {point.share:4.0%}  {'equal' if same else 'DIFFERENT'}")
    print(f"{equal} of {arguments.points} runs end with the weights of the uninterrupted run, bit for bit")
    return 0 if equal == arguments.points else 1


if __name__ == "__main__":
    sys.exit(run())
