"""1x1 convolutions as one operator, with the shortcut around them, in training on CPU; everywhere else, the module."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from involution.layers.span import hooked
from involution.ops.fused.eager import is_eager, is_map
from involution.ops.fused.pointwise import MULTIPLE, pointwise_conv


def conv(module: nn.Module, x: Tensor) -> Tensor:
    """Return module(x); see `conv_shortcut`."""
    return conv_shortcut(module, x)[0]


def conv_shortcut(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return module(x), and `x` for the shortcut.

    A 1x1 `nn.Conv2d` of stride 1 without bias, groups and hooks, whose numbers of channels are multiples of 16, is one
    operator, `involution.ops.fused.pointwise`, if it trains in float32 on a CPU in channels-last memory. It adds the
    gradient of the shortcut. Compiled and transformed calls, and those under autocast, run the module.

    Args:
        module: any module.
        x: [B, C, H, W].
    """
    if is_eager() and _is_pointwise(module) and is_map(x) and x.shape[1] == module.weight.shape[1]:
        return pointwise_conv(x, module.weight)
    return module(x), x


def _is_pointwise(module: Any) -> TypeGuard[nn.Conv2d]:
    return (
        type(module) is nn.Conv2d
        and module.stride == (1, 1)
        and module.padding in ((0, 0), "same", "valid")
        and module.groups == 1
        and module.bias is None
        and type(module.weight) is nn.Parameter  # may have been replaced by one of another shape
        and module.weight.shape[2:] == (1, 1)
        and all(size and size % MULTIPLE == 0 for size in module.weight.shape[:2])
        and module.weight.is_contiguous()
        and not hooked(module)
        and not torch.is_autocast_enabled("cpu")
    )
