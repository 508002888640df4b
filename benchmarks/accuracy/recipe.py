"""Train a recipe with several seeds and evaluate it on its test images.

    python -m benchmarks run accuracy -- digits
    python -m benchmarks run accuracy -- cifar10 --seeds 0 --label 3-epochs -- --data.root PATH --trainer.max_epochs 3

Arguments after the second `--` are passed to `involution fit` and `involution test`. The record is
accuracy/RECIPE[-LABEL].json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.record import ROOT


def run(options: Options) -> Measured:
    """Train and test with each seed."""
    words = list(options.arguments) or (["digits"] if options.dry_run else [])
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="python -m benchmarks run accuracy --", description="Train and test.")
    parser.add_argument("recipe", help="a file in configs, without its ending")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--label", help="distinguishes this way of running the recipe from others")
    given = parser.parse_args(words[:at])
    config = f"configs/{given.recipe}.yaml"
    if not (ROOT / config).exists():
        raise ValueError(f"recipe: expected the name of a file in configs, got {given.recipe!r}")
    settings: Row = {"config": config, "accelerator": options.target}
    variant = "-".join([given.recipe, *([given.label] if given.label else [])])
    if options.dry_run:
        return Measured([], settings, variant=variant)
    arguments = ["--config", config, "--trainer.accelerator", options.target, *words[at + 1 :]]
    return Measured([measure(seed, arguments) for seed in given.seeds], settings, variant=variant)


def measure(seed: int, arguments: Sequence[str]) -> Row:
    """Return the test metrics of one run and the duration of its training."""
    arguments = ["--seed_everything", str(seed), *arguments]
    fitted = involution("fit", *arguments)
    tested = involution("test", *arguments, "--checkpoint", fitted["checkpoint"])
    return {"seed": seed, "duration_s": fitted["seconds"], **tested}


def involution(*arguments: str) -> Row:
    """Run a command and return its output."""
    command = [sys.executable, "-m", "involution", *arguments, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    return dict(json.loads(done.stdout))
