"""Train a recipe with several seeds and measure it on its test images.

    python benchmarks/accuracy.py digits
    python benchmarks/accuracy.py cifar10 --seeds 0 --label 3-epochs -- --data.root PATH --trainer.max_epochs 3

What follows `--` goes to `involution fit` and `involution test`. Writes results/measured/accuracy-NAME[-LABEL].json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
PRIVATE = "--data.root"  # where images lie on a machine is nobody's business


def measure(recipe: str, seed: int, settings: list[str]) -> dict[str, Any]:
    """Return the test figures of one run, in units of 1, and how long its training took, in seconds."""
    arguments = ["--config", f"configs/{recipe}.yaml", "--seed_everything", str(seed), *settings]
    fitted = involution("fit", *arguments)
    return {
        "seed": seed,
        "seconds": fitted["seconds"],
        **involution("test", *arguments, "--ckpt_path", fitted["ckpt_path"]),
    }


def involution(*arguments: str) -> dict[str, Any]:
    """Run a command and return its answer."""
    command = [sys.executable, "-m", "involution", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout)


def main() -> None:
    """Measure with every seed and write."""
    parser = argparse.ArgumentParser(description="Train a recipe with several seeds and measure it.")
    parser.add_argument("recipe", help="a file in configs, without its ending")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--label", help="tells this way of running the recipe from others")
    parser.add_argument("settings", nargs="*", help="further arguments of the recipe")
    given = parser.parse_args()

    rows = [measure(given.recipe, seed, given.settings) for seed in given.seeds]
    top1 = [row["test/top1"] for row in rows]
    shown = ["PATH" if before == PRIVATE else word for before, word in zip(["", *sys.argv], sys.argv, strict=False)]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    record = {
        "command": " ".join(["python", "benchmarks/accuracy.py", *shown[1:]]),
        "commit": commit.stdout.strip(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "top1": statistics.mean(top1),
        "spread": [min(top1), max(top1)],
        "rows": rows,
    }
    name = "-".join(["accuracy", given.recipe, *([given.label] if given.label else [])])
    (ROOT / f"results/measured/{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{name}: {statistics.mean(top1):.2%}, {min(top1):.2%} to {max(top1):.2%}")


if __name__ == "__main__":
    main()
