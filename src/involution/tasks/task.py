"""What all tasks share: the network takes normalized images, learns by the recipe, and knows its checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from involution.tasks.schedule import Schedule


class Task(LightningModule):
    """Base of the tasks.

    Args:
        network: carries the mean and standard deviation of its images in `pretrained_cfg`, as all models of timm do.
        channels: of the images, 3 for RGB or 1 for grey.
        optimizer: called with all parameters.
        schedule: of the learning rate.
        channels_last: lay images and weights out with neighbouring channels side by side, the layout that the
            operator is fastest in.
        compile: have `torch.compile` translate the network.
    """

    identity: tuple[str, ...] = ()
    """Hyperparameters in which a checkpoint must agree with the task that loads it."""

    eval_transform: Any
    """What an image goes through before it is judged: uint8 [C, H, W] → float32 in [0, 1]; knows its `channels`."""

    collate: Callable[[list[Any]], Any] | None = None
    """Makes a batch of images to be predicted; None stacks them."""

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
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = network.to(memory_format=self.memory_format)
        self.optimizer, self.schedule = optimizer, schedule
        if compile:
            self.net.compile()
        for name in ("mean", "std"):
            self.register_buffer(name, _statistic(network, name, channels), persistent=False)  # [C, 1, 1]

    def normalize(self, images: Tensor) -> Tensor:
        """Map [0, 1] to the range that the network was made for."""
        return ((images - self.mean) / self.std).contiguous(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Any:
        """Apply the network to [B, C, H, W] in [0, 1]."""
        return self.net(self.normalize(images))

    def summary(self, prediction: dict[str, Any]) -> dict[str, Any]:
        """Return what `predict_step` says of an image as JSON can hold it."""
        return prediction

    def line(self, summary: dict[str, Any]) -> str:
        """Return the summary of an image in a few words."""
        raise NotImplementedError

    def write(self, image: Tensor, prediction: dict[str, Any], folder: Path) -> None:
        """Leave in `folder` what is better seen than read about the image, [C, H, W] in [0, 1]; nothing by default."""

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._rates(optimizer), "interval": "step"}}

    def _rates(self, optimizer: torch.optim.Optimizer) -> LambdaLR:
        trainer, epochs = self.trainer, self.trainer.max_epochs
        if epochs is None or epochs < 1:
            raise ValueError(f"max_epochs: expected at least 1, the schedule depends on it, got {epochs}")

        def factor(iteration: int) -> float:
            # At the start the number of batches is not yet known, and of no consequence. (Asking Lightning for it would
            # have the workers load images before a resumed run knows its epoch.)
            batches = trainer.num_training_batches if iteration else 1
            return self.schedule.factor(iteration, math.ceil(batches / trainer.accumulate_grad_batches), epochs)

        return LambdaLR(optimizer, factor)

    def on_train_epoch_start(self) -> None:
        # With a seed, dropout depends on seed, process and epoch alone, so that a resumed run equals an unbroken one.
        if "PL_GLOBAL_SEED" in os.environ:
            torch.manual_seed(hash((int(os.environ["PL_GLOBAL_SEED"]), self.global_rank, self.current_epoch)))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.check_same(checkpoint.get("hyper_parameters", {}), "ckpt_path", "the configuration")

    def check_same(self, theirs: Mapping[str, Any], argument: str, source: str) -> None:
        """Raise `ValueError` about `argument` if hyperparameters that name another network differ from ours."""
        for name in self.identity:
            if name in theirs and theirs[name] != self.hparams[name]:
                raise ValueError(
                    f"{argument}: expected {name} {self.hparams[name]!r} as in {source}, got {theirs[name]!r}"
                )


def _statistic(network: nn.Module, name: str, channels: int) -> Tensor:
    """Return mean or std of every channel; that of grey is the mean over RGB."""
    values = torch.tensor(network.pretrained_cfg[name])  # type: ignore[index]
    return (values if channels == len(values) else values.mean().expand(channels)).reshape(-1, 1, 1).clone()
