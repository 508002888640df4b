"""Learning rates and groups of parameters of the optimizer, step by step."""

from functools import partial

import pytest
import torch
from tiny import classification

from involution.data import Synthetic
from involution.tasks import Classification, CosinePerEpoch

pytestmark = pytest.mark.usefixtures("lightning_remarks")


def test_rates_follow_the_schedule_step_by_step(trainer):
    rates = []

    class Recording(Classification):
        def on_train_batch_start(self, *_):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    task = classification()
    task.__class__ = Recording
    trainer(max_epochs=3).fit(task, datamodule=Synthetic(8, 6, batch_size=16, images=64))
    schedule = CosinePerEpoch(2, 0.25)
    assert rates == pytest.approx([0.4 * schedule.factor(n, 4, 3) for n in range(12)])


def test_accumulated_batches_are_one_iteration(trainer):
    task = classification()
    trainer(max_epochs=2, accumulate_grad_batches=2).fit(task, datamodule=Synthetic(8, 6, batch_size=16, images=64))
    factor = CosinePerEpoch(2, 0.25).factor(4, 2, 2)  # the rate of the step that comes next
    assert task.lr_schedulers().get_last_lr() == pytest.approx([0.4 * factor])


def test_an_incomplete_accumulation_is_a_step(trainer):
    """Five batches are three steps of two, as the schedule counts: the last has one batch."""
    task = classification()
    trainer(max_epochs=2, accumulate_grad_batches=2).fit(task, datamodule=Synthetic(8, 6, batch_size=16, images=80))
    assert task.global_step == 6
    factor = CosinePerEpoch(2, 0.25).factor(6, 3, 2)
    assert task.lr_schedulers().get_last_lr() == pytest.approx([0.4 * factor])


def test_a_schedule_needs_a_length(trainer):
    with pytest.raises(ValueError, match="max_epochs: expected at least 1, the schedule depends on it, got -1"):
        trainer(max_epochs=-1).fit(classification(), datamodule=Synthetic(8, 6, batch_size=16))


def step_sizes(trainer, optimizer, accumulate=1, **kwargs):
    """Return the learning rate of the first step with 16 images per batch."""
    task = classification(optimizer=optimizer, schedule=CosinePerEpoch(0, 1.0), **kwargs)
    run = trainer(max_epochs=1, limit_train_batches=accumulate, accumulate_grad_batches=accumulate)
    rates = []
    task.on_train_batch_start = lambda *_: rates.append([g["lr"] for g in task.optimizers().param_groups])
    run.fit(task, datamodule=Synthetic(8, 6, batch_size=16, images=64))
    return rates[0], task


@pytest.mark.parametrize(
    ("accumulate", "batch", "expected"), [(1, 16, 0.4), (1, 64, 0.1), (2, 64, 0.2), (1, None, 0.4)]
)
def test_the_rate_of_sgd_is_scaled_to_the_images_of_a_step(trainer, accumulate, batch, expected):
    optimizer = partial(torch.optim.SGD, lr=0.4)
    rates, _ = step_sizes(trainer, optimizer, accumulate, lr_batch_size=batch)
    assert rates == pytest.approx([expected])


def test_the_rate_of_adam_is_not_scaled_and_a_warning_says_why(trainer):
    with pytest.warns(UserWarning, match=r"lr_batch_size: .* for 64 images is not scaled to 16, because .* not AdamW"):
        rates, _ = step_sizes(trainer, partial(torch.optim.AdamW, lr=0.4), lr_batch_size=64)
    assert rates == [0.4]
    with pytest.raises(ValueError, match="lr_batch_size: expected a positive number of images, got 0"):
        step_sizes(trainer, partial(torch.optim.SGD, lr=0.4), lr_batch_size=0)


def test_weight_decay_can_leave_out_norms_and_biases(trainer):
    optimizer = partial(torch.optim.SGD, lr=0.4, weight_decay=0.1)
    _, task = step_sizes(trainer, optimizer, decay_all=False)
    excluded, decayed = task.optimizers().param_groups
    assert (excluded["weight_decay"], decayed["weight_decay"]) == (0, 0.1)
    assert {p.ndim for p in excluded["params"]} == {1}
    assert min(p.ndim for p in decayed["params"]) > 1
    _, task = step_sizes(trainer, optimizer)
    [group] = task.optimizers().param_groups
    assert group["weight_decay"] == 0.1
    assert len(group["params"]) == len(list(task.parameters()))


def test_layers_near_the_image_can_learn_more_slowly(trainer):
    optimizer = partial(torch.optim.SGD, lr=0.4)
    rates, task = step_sizes(trainer, optimizer, layer_decay=0.5)
    assert max(rates) == pytest.approx(0.4)
    first = next(task.net.parameters())
    [group] = [g for g in task.optimizers().param_groups if any(p is first for p in g["params"])]
    assert group["initial_lr"] == min(rates) < 0.1
    with pytest.raises(ValueError, match="layer_decay: expected more than 0 and at most 1, got 0"):
        step_sizes(trainer, optimizer, layer_decay=0)
