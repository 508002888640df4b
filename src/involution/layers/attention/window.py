"""Functions shared by kernel generators that read their window: its pixels, its border, a softmax over it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from involution import ops
from involution.ops.geometry import Padding, same_padding


def neighbors(x: Tensor, window: list[int]) -> Tensor:
    """Return the pixels of every window that lies inside `x`: [B, C, H, W] → [B, C, Kh, Kw, H−Kh+1, W−Kw+1].

    This is the operator's kernel gradient with one channel a group and an output gradient of ones.
    """
    channels, height, width = x.shape[1:]
    ones = x.new_ones(()).expand(x.shape[0], channels, height - window[0] + 1, width - window[1] + 1)
    return products(ones, x, channels, window, [1, 1], [0, 0], [1, 1])


# TorchScript compiles no arguments of several types, so scripted layers call the operators themselves. `padding` is the
# part in front; it is zero, or that of "same".


def products(
    query: Tensor,
    key: Tensor,
    groups: int,
    window: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    """Return `involution.ops.local_products`, also in TorchScript."""
    if torch.jit.is_scripting():
        return torch.ops.involution.involution2d_grad_kernel(query, key, groups, window, stride, padding, dilation)
    else:
        sides = _sides(padding, window, dilation)
        return ops.local_products(query, key, groups, window, stride, sides, dilation)


def aggregate(x: Tensor, kernel: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    """Return `involution.ops.involution2d`, also in TorchScript."""
    if torch.jit.is_scripting():
        return torch.ops.involution.involution2d(x, kernel, stride, padding, dilation)
    else:
        sides = _sides(padding, kernel.shape[2:4], dilation)
        return ops.involution2d(x, kernel, stride, sides, dilation)


def _sides(padding: list[int], window: Sequence[int], dilation: list[int]) -> Padding:
    return "same" if padding == [front for front, _ in same_padding(window, dilation)] else 0


def beyond(size: int, taps: int, out: int, stride: int, padding: int, dilation: int, like: Tensor) -> Tensor:
    """Return which taps of which output rows fall outside an axis of `size` pixels, [taps, out]; columns likewise."""
    starts = torch.arange(out, device=like.device) * stride - padding
    seen = starts + torch.arange(taps, device=like.device)[:, None] * dilation
    return (seen < 0) | (seen >= size)


def grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return row and column of every position, both from −1 to 1: [2, height, width]."""
    rows = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    columns = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    return torch.stack([rows[:, None].expand(height, width), columns.expand(height, width)])


def softmax(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Normalize over the taps of [B, G, Kh, Kw, Ho, Wo], in float32 at least; return it in `dtype`."""
    weights = logits.flatten(2, 3).softmax(2, torch.promote_types(logits.dtype, torch.float32))
    return weights.unflatten(2, logits.shape[2:4]).to(dtype)
