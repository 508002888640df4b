"""Formulas in plain PyTorch that the operator is compared to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from involution import Involution2d


def unfolded(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Aggregate as in the official reference: K·K copies of the input, multiplied by the kernels and summed."""
    batch, groups, kh, kw, height, width = kernel.shape
    windows = F.unfold(x, (kh, kw), padding=(kh // 2, kw // 2), stride=stride)
    windows = windows.view(batch, groups, -1, kh * kw, height, width)  # [B, G, C/G, K·K, Ho, Wo]
    return (windows * kernel.flatten(2, 3).unsqueeze(2)).sum(3).flatten(1, 2)


def shifted(x: Tensor, kernel: Tensor) -> Tensor:
    """Aggregate by shifting the image once per tap, which Inductor fuses best."""
    groups, kh, kw, height, width = kernel.shape[1:]
    padded = F.pad(x, (kw // 2, kw // 2, kh // 2, kh // 2)).unflatten(1, (groups, -1))
    y = torch.zeros_like(padded[..., :height, :width])
    for u in range(kh):
        for v in range(kw):
            y = y + kernel[:, :, None, u, v] * padded[..., u : u + height, v : v + width]
    return y.flatten(1, 2)


def with_unfold(model: nn.Module) -> nn.Module:
    """Replace the operator in all involutions of `model` by the unfold formula."""
    return _replaced(model, lambda layer: lambda x: unfolded(x, layer.kernel(x), layer.stride[0]))


def with_stored_kernels(model: nn.Module) -> nn.Module:
    """Replace the operator in all involutions of `model` by the one that reads kernels from memory."""
    operator: Any = torch.ops.involution.involution2d
    return _replaced(
        model, lambda layer: lambda x: operator(x, layer.kernel(x), layer.stride, layer.padding, layer.dilation)
    )


def _replaced(model: nn.Module, forward: Callable[[Any], Callable[[Tensor], Tensor]]) -> nn.Module:
    for module in model.modules():
        if isinstance(module, Involution2d):
            setattr(module, "forward", forward(module))  # noqa: B010  (mypy allows no other way)
    return model


def compiled(work: Any, backend: str = "inductor") -> Any:
    """Compile for static shapes, those of the first call."""
    return torch.compile(work, dynamic=False, backend=backend)
