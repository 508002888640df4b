"""The base class of all tasks: normalization, optimization, initial weights and checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from involution.data.batch import as_float
from involution.models.skeleton.weights import DEFAULT
from involution.tasks.optimization import parameter_groups, scale_rates
from involution.tasks.schedule import Schedule
from involution.tasks.sharding import shard

NOT_SAVED = ("optimizer", "schedule", "weights")
"""Arguments of tasks that checkpoints do not store: they are objects, or say where initial weights came from."""


class Task(LightningModule):
    """Base class of the tasks.

    Args:
        network: network with mean and standard deviation of images in `pretrained_cfg`, as all models of timm.
        channels: number of image channels, 3 for RGB or 1 for grayscale.
        optimizer: called with groups of the parameters.
        schedule: schedule of the learning rate.
        channels_last: use channels-last memory format, in which the operator is fastest.
        compile: compile the network with `torch.compile`.
        weights: initial weights, a file or "DEFAULT" for those of timm's registry. They are loaded when a run starts
            without restoring a checkpoint. This argument is not stored in checkpoints.
        lr_batch_size: number of images per step for which the learning rate is specified. The rate of SGD is scaled to
            the number of images of the run (see `involution.tasks.optimization.scale_rates`). None disables scaling.
        decay_all: apply weight decay to all parameters, as in the paper; otherwise, biases and norms have none.
        layer_decay: factor of the learning rate from each block to the previous one.
    """

    identity: tuple[str, ...] = ()
    """Hyperparameters in which a checkpoint must agree with the task that loads it."""

    eval_transform: Any
    """Transform of uint8 images [C, H, W] for evaluation; knows their `channels`."""

    classes: list[str]
    """Names of the classes."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        optimizer: OptimizerCallable,
        schedule: Schedule,
        channels_last: bool,
        compile: bool,
        weights: str | None = None,
        lr_batch_size: int | None = None,
        decay_all: bool = True,
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__()
        self.weights, self.lr_batch_size = weights, lr_batch_size
        self.decay_all, self.layer_decay = decay_all, layer_decay
        self.initialized = self.sharded = False
        self.resumed: list[tuple[str, int]] = []  # optimizers of the checkpoint that is resumed, and their groups
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = network.to(memory_format=self.memory_format)
        self.optimizer, self.schedule = optimizer, schedule
        if compile:
            self.net.compile()
        for name in ("mean", "std"):
            self.register_buffer(name, _statistic(network, name, channels), persistent=False)  # [C, 1, 1]

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize images in [0, 1] by the mean and standard deviation of the network; uint8 is converted first."""
        return ((as_float(images) - self.mean) / self.std).contiguous(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Any:
        """Apply the network to images, [B, C, H, W] in [0, 1]."""
        return self.net(self.normalize(images))

    def log_losses(self, loss: Tensor, images: int, **parts: Tensor) -> None:
        """Log the loss of a batch in the progress bar and as `train/loss_step`, and means over the epoch.

        Args:
            loss: total loss of the batch.
            images: number of images in the batch.
            parts: terms of the loss; logged as `train/NAME`, averaged over the epoch.
        """
        self.log("loss", loss, prog_bar=True, logger=False)
        self.log("train/loss_step", loss, on_step=True, on_epoch=False)
        means = {"train/loss": loss, **{f"train/{name}": part for name, part in parts.items()}}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=images, sync_dist=True)

    def summary(self, prediction: dict[str, Any]) -> dict[str, Any]:
        """Return a prediction of `predict_step` as JSON-serializable values."""
        return prediction

    def line(self, summary: dict[str, Any]) -> str:
        """Return a one-line summary of a prediction."""
        raise NotImplementedError

    def write(self, image: Tensor, prediction: dict[str, Any], folder: Path) -> None:
        """Write pictures of a prediction to `folder`. The default writes none. The image is [C, H, W] in [0, 1]."""

    def initialize(self, weights: str | None) -> None:
        """Load initial weights. None checks that the network can be trained without initial weights."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        # Load before the strategy distributes the weights. A missing file may belong to a checkpoint that is restored
        # next, so the error is raised later.
        if self.weights is not None and not self.initialized and self._available():
            self.initialize(self.weights)
            self.initialized = True

    def _available(self) -> bool:
        return self.weights == DEFAULT or Path(str(self.weights)).is_file()

    def configure_model(self) -> None:
        """Shard the network if the strategy has a mesh of processes for it."""
        if self.device_mesh is not None and not self.sharded:
            if self.weights is None and "PL_GLOBAL_SEED" not in os.environ:
                raise ValueError("seed_everything: expected a number, so that all processes start alike, got none")
            shard(self.net, self.device_mesh["data_parallel"])
            self.sharded = True

    def on_fit_start(self) -> None:
        if not self.initialized:
            self.initialize(self.weights)
        self.initialized = True

    def on_validation_start(self) -> None:
        if not self.initialized and self.weights is not None:
            self.initialize(self.weights)

    on_test_start = on_validation_start

    def on_before_backward(self, loss: Tensor) -> None:
        if loss.isfinite():
            return
        saved = [c.best_model_path for c in self.trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        last = max(filter(os.path.exists, saved), key=os.path.getmtime, default="none")
        raise ValueError(
            f"loss: expected a finite number, got {loss.item()} in step {self.global_step} of epoch "
            f"{self.current_epoch}; last checkpoint: {last}; use a lower learning rate, a longer warm-up, "
            "--trainer.gradient_clip_val or --trainer.precision 32"
        )

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self, self.decay_all, self.layer_decay)
        try:
            optimizer = self.optimizer(groups)
        except ValueError as error:
            raise ValueError(f"optimizer: expected arguments in their range, got {error}") from None
        self._check_resumed(optimizer)
        scale_rates(optimizer, self.trainer, self.lr_batch_size)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._rates(optimizer), "interval": "step"}}

    def _rates(self, optimizer: torch.optim.Optimizer) -> LambdaLR:
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 1:
            raise ValueError(f"max_epochs: expected at least 1, the schedule depends on it, got {epochs}")

        return LambdaLR(optimizer, self._rate)

    def _rate(self, iteration: int) -> float:
        """Return the factor on the learning rate. This is a method because spawned workers may pickle it."""
        trainer: Any = self.trainer
        # In iteration 0 the number of batches is not known and not needed. To count them, Lightning would create the
        # data loader before a resumed run knows its epoch.
        batches = trainer.num_training_batches if iteration else 1
        steps = math.ceil(batches / trainer.accumulate_grad_batches)
        return self.schedule.factor(iteration, steps, trainer.max_epochs)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # With a seed, dropout depends on seed, process, epoch and batch only: a resumed run equals an uninterrupted
        # one, even if it resumes in the middle of an epoch.
        if "PL_GLOBAL_SEED" in os.environ:
            seed = int(os.environ["PL_GLOBAL_SEED"])
            torch.manual_seed(hash((seed, self.global_rank, self.current_epoch, batch_idx)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["optimizers"] = [type(optimizer).__name__ for optimizer in self.trainer.optimizers]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.initialized = True
        groups = [len(state["param_groups"]) for state in checkpoint.get("optimizer_states", ())]
        self.resumed = list(zip(checkpoint.get("optimizers", ()), groups, strict=False))
        self.check_same(checkpoint.get("hyper_parameters", {}), "checkpoint", "the configuration")

    def _check_resumed(self, optimizer: torch.optim.Optimizer) -> None:
        """Raise `ValueError` if the optimizer cannot have the state of the checkpoint that is being resumed."""
        for name, groups in self.resumed:
            if (got := type(optimizer).__name__) != name:
                raise ValueError(f"optimizer: expected {name} as in the checkpoint, got {got}")
            if (number := len(optimizer.param_groups)) != groups:
                raise ValueError(
                    f"decay_all, layer_decay: expected {groups} groups of parameters as in the checkpoint, got {number}"
                )

    def check_same(self, theirs: Mapping[str, Any], argument: str, source: str) -> None:
        """Raise `ValueError` naming `argument` if hyperparameters in `identity` differ from those of this task."""
        for name in self.identity:
            if name in theirs and theirs[name] != (ours := self.hparams[name]):
                expected, got = _shown(ours, theirs[name]), _shown(theirs[name], ours)
                raise ValueError(f"{argument}: expected {name} {expected} as in {source}, got {got}")


def _shown(value: Any, other: Any) -> str:
    """Return a value for a message: of a long list, its length and the first entry that differs from `other`."""
    if not isinstance(value, list) or not isinstance(other, list) or len(value) + len(other) <= 20:
        return repr(value)
    at = next(index for index, (a, b) in enumerate(zip_longest(value, other)) if a != b)
    first = f", {value[at]!r} at {at}" if at < len(value) else ""
    return f"({len(value)} names{first})"


def _statistic(network: nn.Module, name: str, channels: int) -> Tensor:
    """Return mean or std of each channel; for grayscale, the mean over RGB."""
    values = torch.tensor(network.pretrained_cfg[name])  # type: ignore[index]
    return (values if channels == len(values) else values.mean().expand(channels)).reshape(-1, 1, 1).clone()
