"""Batch norm and ReLU in one pass, in training on CPU; everywhere else, the modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from involution.layers.conv import conv
from involution.layers.span import hooked
from involution.ops.fused.eager import is_eager, is_map
from involution.ops.fused.norm import batch_norm


class NormActSequential(nn.Sequential):
    """`nn.Sequential` that calls `conv` for a convolution, and `norm_act` for a batch norm and the ReLU behind it."""

    def forward(self, input: Tensor) -> Tensor:  # named as in nn.Sequential
        if torch.jit.is_scripting():
            for module in self:
                input = module(input)
            return input
        elif self.training:
            return forward(list(self), input)
        else:
            return super().forward(input)


def forward(modules: list[nn.Module], x: Tensor) -> Tensor:
    """Call the modules one after the other, as `NormActSequential` does."""
    while modules:
        module = modules.pop(0)
        if isinstance(module, nn.BatchNorm2d):
            act = modules.pop(0) if modules and isinstance(modules[0], nn.ReLU) else None
            x = norm_act(x, module, act)
        else:
            x = conv(module, x)
    return x


def norm_act(
    x: Tensor,
    norm: nn.Module,
    act: nn.Module | None,
    shortcut: Tensor | None = None,
    drop_path: nn.Module | None = None,
) -> Tensor:
    """Return act(drop_path(norm(x)) + shortcut).

    If the modules are `nn.BatchNorm2d` and `nn.ReLU`, without hooks, and train in float32 on a CPU in channels-last
    memory, the steps are one operator, `involution.ops.fused.norm`. Compiled and transformed calls run the modules.

    Args:
        x: [B, C, H, W].
        norm: any norm.
        act: any activation, or None for no activation; then there is no shortcut either.
        shortcut: as `x`.
        drop_path: stochastic depth.
    """
    if not isinstance(drop_path, nn.Identity | None):
        y = drop_path(norm_act(x, norm, None))
    elif _fuses(x, norm, act) and (shortcut is None or is_map(shortcut)):
        return _fused(x, norm, act is not None, shortcut)
    else:
        y = norm(x)
    y = y if shortcut is None else y.add_(shortcut)  # in place: saves the allocation of a map
    return y if act is None else act(y)


def _fuses(x: Tensor, norm: Any, act: Any) -> bool:
    return (
        is_eager()
        and type(norm) is nn.BatchNorm2d
        and (act is None or type(act) is nn.ReLU)
        and norm.training
        and norm.running_mean is not None
        and norm.momentum is not None
        and type(norm.weight) is nn.Parameter
        and norm.weight.dtype == norm.running_mean.dtype == torch.float32
        and is_map(x)
        and x.numel() > x.shape[1]  # else there is no variance, and PyTorch reports it
        and not (hooked(norm) if act is None else hooked(norm, act))
    )


def _fused(x: Tensor, norm: Any, relu: bool, shortcut: Tensor | None) -> Tensor:
    y, mean, var = batch_norm(x, shortcut, norm.weight, norm.bias, norm.eps, relu)
    count = x.numel() // x.shape[1]
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        # As in PyTorch, the buffers keep their version: an earlier call of `norm` may have saved them for its backward.
        norm.running_mean.data.lerp_(mean, norm.momentum)
        norm.running_var.data.lerp_(var * (count / (count - 1)), norm.momentum)
    return y
