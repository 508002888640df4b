"""Fixtures that run the command line."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from involution.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def configs():
    return CONFIGS


@pytest.fixture(scope="session", autouse=True)
def no_deprecations():
    os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # they are about what Lightning calls


@pytest.fixture
def run(capsys, tmp_path, monkeypatch, one_thread):
    """Run `involution` with these arguments in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return run


def settings(images: Path, **changes: object) -> Sequence[str]:
    values = {
        "config": CONFIGS / "cifar10.yaml",
        "data.root": images,
        "data.batch_size": 4,
        "data.num_workers": 0,
        "model.network": "test_resnet",
        "model.options": "{drop_rate: 0.2}",
        "trainer.max_epochs": 1,
        "trainer.enable_progress_bar": "false",
        "trainer.log_every_n_steps": 1,
    }
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


@pytest.fixture
def recipe(image_folder):
    """Arguments of a short run: a tiny network of timm, two classes of small images."""

    def recipe(**changes: object) -> Sequence[str]:
        return settings(image_folder, **changes)

    return recipe


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, draw_images):
    """Output folder of a run of that recipe."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = settings(draw_images(folder / "images"), trainer__default_root_dir=folder / "runs")
    assert main(["fit", *arguments]) == 0
    return folder / "runs/version_0/checkpoints/best.ckpt"
