"""Throughput by a clock that the test sets."""

from types import SimpleNamespace

import pytest
import torch

from involution.cli.lightning.progress import Throughput


def test_throughput_leaves_out_validation_and_time_left_includes_it():
    """Four images in each of two processes; batches of 2 s, 10 s of validation, six steps in all from step 1."""
    now = [100.0]
    logged = []
    logger = SimpleNamespace(should_update_logs=False)
    trainer = SimpleNamespace(world_size=2, global_step=1, estimated_stepping_batches=7, _logger_connector=logger)
    task = SimpleNamespace(log_dict=lambda figures, **_: logged.append(figures))
    callback = Throughput(clock=lambda: now[0])
    callback.on_train_start(trainer, task)
    callback.on_train_epoch_start(trainer, task)

    def batch(index, seconds):
        now[0] += seconds
        trainer.global_step += 1
        logger.should_update_logs = index % 2 == 1
        callback.on_train_batch_end(trainer, task, None, SimpleNamespace(images=torch.zeros(4, 3, 1, 1)), index)

    batch(0, 2)
    batch(1, 2)
    now[0] += 10
    callback.on_validation_end(trainer, task)
    batch(2, 4)
    assert [figures["train/images_per_s"] for figures in logged] == pytest.approx([4, 4, 2])
    assert [figures["train/left_s"] for figures in logged] == pytest.approx([10, 8, 18])
