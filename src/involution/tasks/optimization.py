"""Parameter groups and learning rates from the settings of a recipe."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from timm.optim import param_groups_layer_decay, param_groups_weight_decay


def parameter_groups(task: LightningModule, decay_all: bool, layer_decay: float) -> list[dict[str, Any]]:
    """Return the parameter groups of `task.net` for an optimizer.

    Args:
        task: task whose network may define `no_weight_decay()` and `group_matcher()`, as timm's networks do.
        decay_all: apply weight decay to all parameters. Otherwise, biases, norms and the parameters in
            `no_weight_decay` have none.
        layer_decay: factor of the learning rate from each block to the previous one, stored as `lr_scale`.

    Raises:
        ValueError: `layer_decay` is not in (0, 1], or the network has no groups.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay: expected more than 0 and at most 1, got {layer_decay}")
    network: Any = task.net
    excluded: Any = () if decay_all else getattr(network, "no_weight_decay", tuple)()
    given: dict[str, Any] = {"no_weight_decay_list": excluded, "weight_decay_exclude_1d": not decay_all}
    if layer_decay < 1:
        if not hasattr(network, "group_matcher"):
            raise ValueError(f"layer_decay: expected a classifier with groups of layers, got {type(network).__name__}")
        groups = param_groups_layer_decay(network, 1.0, layer_decay=layer_decay, **given)
    elif decay_all:
        groups = [{"params": list(network.parameters())}]
    else:
        groups = param_groups_weight_decay(network, 1.0, **given)
    for group in groups:
        if group.get("weight_decay") == 1.0:
            group.pop("weight_decay", None)  # the optimizer has its own
    return groups


def scale_rates(optimizer: torch.optim.Optimizer, trainer: Trainer, lr_batch_size: int | None) -> None:
    """Scale the learning rates of parameter groups, in place.

    The factor is `lr_scale` of the group. For SGD, it is multiplied by the number of images per step divided by
    `lr_batch_size`, the linear rule of Goyal et al., "Accurate, Large Minibatch SGD", 2017. A step has the images of
    all processes and of all accumulated batches. If the linear rule is not applied, a warning gives the reason.

    Raises:
        ValueError: `lr_batch_size` is not positive.
    """
    factor = 1.0
    if lr_batch_size is not None:
        if lr_batch_size < 1:
            raise ValueError(f"lr_batch_size: expected a positive number of images, got {lr_batch_size}")
        images = getattr(getattr(trainer, "datamodule", None), "batch_size", None)
        if images is None:
            rank_zero_warn("lr_batch_size: the learning rate is not scaled, because the batch size is unknown")
        else:
            images *= trainer.world_size * trainer.accumulate_grad_batches
            if isinstance(optimizer, torch.optim.SGD):
                factor = images / lr_batch_size
            elif images != lr_batch_size:
                rank_zero_warn(
                    f"lr_batch_size: the learning rate for {lr_batch_size} images is not scaled to {images}, because "
                    f"the linear rule is for SGD, not {type(optimizer).__name__}"
                )
    for group in optimizer.param_groups:
        group["lr"] *= factor * group.get("lr_scale", 1.0)
