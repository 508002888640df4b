"""1x1 convolutions as one operator in training on CPU; everywhere else, the module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from involution.layers.span import hooked
from involution.ops.fused.eager import is_eager, is_map
from involution.ops.fused.pointwise import MULTIPLE, pointwise_conv


def conv(module: nn.Module, x: Tensor) -> Tensor:
    """Return module(x).

    A 1x1 `nn.Conv2d` of stride 1 without bias, groups and hooks, whose numbers of channels are multiples of 16, is one
    operator, `involution.ops.fused.pointwise`, if it trains in float32 on a CPU in channels-last memory. Compiled and
    transformed calls, and those under autocast, run the module.

    Args:
        module: any module.
        x: [B, C, H, W].
    """
    if fused_stride(module, x) != 1:
        return module(x)
    weight: Any = module.weight
    return pointwise_conv(x, weight)[0]


def fused_stride(module: Any, x: Tensor) -> int:
    """Return the stride s of a convolution that the operator computes from x[:, :, ::s, ::s], or 0 if there is none."""
    fuses = is_eager() and _is_pointwise(module) and is_map(x) and x.shape[1] == module.weight.shape[1]
    return module.stride[0] if fuses else 0


def _is_pointwise(module: Any) -> bool:
    return (
        type(module) is nn.Conv2d
        and isinstance(module.stride, tuple)  # may have been replaced by a number
        and len(set(module.stride)) == 1
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
