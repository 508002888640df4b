"""`torch.vmap` of the operators: the mapped dimension joins the batch, or the channels that share a kernel.

The spanned operators run as their two steps, each mapped by its own rule: the weight may be mapped too, and it has a
gradient for every mapped sample. `ska` runs as `involution2d`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from involution.ops import axes, schema, spanned

_ops = torch.ops.involution
Dims = tuple[int | None, ...]


def _into_batch(value: Tensor, dim: int | None, size: int) -> Tensor:
    """Return [N·B, ...]; unmapped tensors are repeated."""
    mapped = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
    return mapped.flatten(0, 1)


def _over_batch(op: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int]]:
    def rule(info: Any, dims: Dims, first: Tensor, second: Tensor, *numbers: Any) -> tuple[Tensor, int]:
        size = info.batch_size
        y = op(_into_batch(first, dims[0], size), _into_batch(second, dims[1], size), *numbers)
        return y.unflatten(0, (size, len(y) // size)), 0

    return rule


def _over_batch_or_channels(op: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int]]:
    over_batch = _over_batch(op)

    def rule(info: Any, dims: Dims, x: Tensor, kernel: Tensor, *numbers: Any) -> tuple[Tensor, int]:
        if dims[0] is None or dims[1] is not None:
            return over_batch(info, dims, x, kernel, *numbers)
        # The kernels are shared and larger than x: N times as many channels a group repeat nothing. These are
        # [B, C, N, ...], or [B, N, C/G, G, ...] if groups are interleaved.
        at = 2 if (x.dim() - 1) % 2 == 0 else 1
        mapped = x.movedim(dims[0], at)
        y = op(mapped.flatten(1, 2), kernel, *numbers)
        return y.unflatten(1, mapped.shape[1:3]), at

    return rule


for _name, _rule in {
    "involution2d": _over_batch_or_channels,
    "involution2d_softmax": _over_batch_or_channels,
    "involution2d_grad_x": _over_batch_or_channels,
    "involution2d_grad_kernel": _over_batch,
}.items():
    torch.library.register_vmap(f"involution::{_name}", _rule(getattr(_ops, _name)), lib=schema.LIBRARY)
schema.LIBRARY.impl("involution2d_spanned", spanned.involution2d_spanned, "FuncTorchBatched")
schema.LIBRARY.impl("involution2d_spanned_backward", spanned.involution2d_spanned_backward, "FuncTorchBatched")
schema.LIBRARY.impl("ska", axes.ska, "FuncTorchBatched")
