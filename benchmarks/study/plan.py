"""The networks, seeds and recipe of a study, from its YAML file."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measuring.options import Row


@dataclass(frozen=True)
class Recipe:
    """How every network is trained.

    Attributes:
        epochs: number of passes over the training images.
        batch_size: images per step.
        train_size: side of the training crops in pixels; evaluation is at the size of the images.
        crop_area: smallest and largest area of a training crop, as fractions of the image.
        lr, weight_decay, betas: of AdamW; biases and norms have no weight decay.
        warmup_epochs: length of the linear warm-up, after which the learning rate decays linearly to 0.
        label_smoothing: fraction of the target that is distributed over all classes.
        clip_norm: largest norm of the gradient.
        held_out: fraction of the training images on which to evaluate instead of the validation images; 0 for none.
        threads: of the CPU.
        dtype: of autocast; "float32" for none.
    """

    epochs: int
    batch_size: int
    train_size: int
    crop_area: tuple[float, float]
    lr: float
    weight_decay: float
    betas: tuple[float, float]
    warmup_epochs: float
    label_smoothing: float
    clip_norm: float
    held_out: float
    threads: int
    dtype: str


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        label: name of the network in the tables.
        network: its name in timm's registry.
        options: of the network.
        seed: of the weights, the order of the images and their transforms.
        lr: learning rate.
        usual_lr: whether it is that of the recipe.
    """

    label: str
    network: str
    options: Row
    seed: int
    lr: float
    usual_lr: bool

    @property
    def name(self) -> str:
        """Path of the record and of the files of the run, without ending."""
        label = re.sub(r"[^a-z0-9]+", "-", self.label.lower())
        return f"seed{self.seed}" + ("" if self.usual_lr else f"-lr{self.lr:g}") + f"/{label}"


@dataclass(frozen=True)
class Plan:
    """A study.

    Attributes:
        config: path of the YAML file.
        data: default folder of the images, with a folder per class in `train` and in `val`.
        recipe: how every network is trained.
        networks: label to name and options.
        runs: in the order in which they are done.
    """

    config: str
    data: str
    recipe: Recipe
    networks: dict[str, Row]
    runs: list[Run]


def read(path: Path) -> Plan:
    """Read a study.

    Raises:
        ValueError: the file is missing, or has a key too many or too few.
    """
    if not path.is_file():
        raise ValueError(f"config: expected a YAML file, got {path}, which is no file")
    content = yaml.safe_load(path.read_text())
    _check(content, {"data", "recipe", "networks", "runs"}, "config")
    given = content["recipe"]
    _check(given, {field.name for field in fields(Recipe)}, "recipe")
    pairs = {name: tuple(given[name]) for name in ("crop_area", "betas")}
    recipe = Recipe(**{**given, **pairs})
    networks = {
        label: {"network": row["network"], "options": row.get("options", {})}
        for label, row in content["networks"].items()
    }
    runs = []
    for group in content["runs"]:
        for label in group["networks"]:
            if label not in networks:
                raise ValueError(f"runs: expected one of {', '.join(networks)}, got {label!r}")
            lr = group.get("lr", recipe.lr)
            runs.append(Run(label, **networks[label], seed=group["seed"], lr=lr, usual_lr=lr == recipe.lr))
    return Plan(str(path), content["data"], recipe, networks, runs)


def _check(content: Any, expected: set[str], argument: str) -> None:
    got = set(content) if isinstance(content, dict) else set()
    if got != expected:
        raise ValueError(f"{argument}: expected the keys {sorted(expected)}, got {sorted(got)}")
