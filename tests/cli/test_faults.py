"""Faults in the middle of a run: one line says what happened, and the checkpoint before it is whole."""

import errno
import os
import shutil

import pytest
import torch

from involution.tasks import Classification, load_task, saving

LAST = "runs/cifar10/version_0/checkpoints/last.ckpt"


def ends(outcome, message):
    """Check the message and the last checkpoint; return the number of its steps."""
    import re

    assert outcome.status == 2
    assert outcome.err.count("\n") == 1, outcome.err
    assert re.search(message, outcome.err), outcome.err
    load_task(LAST)
    return torch.load(LAST, weights_only=True)["global_step"]


@pytest.fixture
def often(recipe):
    """A run that saves a checkpoint after every step."""
    settings = "{filename: last, every_n_train_steps: 1, enable_version_counter: false}"
    last = f"{{class_path: ModelCheckpoint, init_args: {settings}}}"

    def often(**changes):
        return recipe(trainer__callbacks=f"[{last}]", **changes)

    return often


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written(run, often, monkeypatch):
    """The disk is full after half of the third checkpoint; tests/tasks/test_saving.py has the other reasons."""
    written = []

    def write(file, data):
        written.append(len(data))
        if len(written) == 3:
            file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(data)

    monkeypatch.setattr(saving, "_write", write)
    message = "error: checkpoint: expected to write .* MiB to .*last.ckpt, got No space left on device; "
    assert ends(run("fit", *often()), message) == 2


@pytest.mark.slow
def test_images_that_vanish(run, often, image_folder, monkeypatch):
    step = Classification.training_step

    def training_step(task, batch, index):
        if task.global_step == 2:
            shutil.rmtree(image_folder / "train")
        return step(task, batch, index)

    monkeypatch.setattr(Classification, "training_step", training_step)
    assert ends(run("fit", *often()), r"error: image: expected a file, got .*png, which does not exist") >= 2


@pytest.mark.slow
def test_a_loss_that_is_not_finite(run, often):
    outcome = run("fit", *often(model__optimizer__lr=1e30, model__schedule__warmup_epochs=0))
    message = (
        r"error: loss: expected a finite number, got .* in step \d+ of epoch 0; last checkpoint: .*last.ckpt; use a"
    )
    assert ends(outcome, message) >= 1
