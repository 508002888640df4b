"""The stem of a RedNet as one operator, for inference: see docs/cpu.md.

    h = relu(conv2d(x, W₁, b₁, stride=2))                           3x3
    g = relu(scale · involution2d(h, Wₛ relu(Wᵣ h + bᵣ) + bₛ) + shift)
    y = max_pool2d(relu(conv2d(g, W₃, b₃)), stride=2)               both 3x3

Weights are packed as those of a bottleneck: see `involution.ops.fused.bottleneck`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from involution.ops.fused.bottleneck import autocast, involve, pack, unpack
from involution.ops.schema import LIBRARY, operator

Ints = Sequence[int]

WINDOW_ROW = 16
"""Depth of one row of the first convolution's window, 3 pixels of up to 5 channels, filled up with zeros."""


def pack_first(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight of the first convolution, [N, C, 3, 3], as panels."""
    rows = weight.permute(0, 2, 3, 1).flatten(2)
    return pack(F.pad(rows, [0, WINDOW_ROW - rows.shape[2]]).flatten(1), bias)


def pack_last(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight of the last convolution, [N, M, 3, 3], as panels."""
    return pack(weight.permute(0, 2, 3, 1).flatten(1), bias)


_op = operator("stem")


def _fake(x: Tensor, *arguments: Any) -> Tensor:
    height, width = ((size + 3) // 4 for size in x.shape[2:])
    return x.new_empty([x.shape[0], height, width, arguments[9].shape[0]]).permute(0, 3, 1, 2)


def _reference(
    x: Tensor,
    enter: Tensor,
    enter_bias: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor,
    span: Tensor,
    span_bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    leave: Tensor,
    leave_bias: Tensor,
    groups: int,
    window: Ints,
) -> Tensor:
    channels, mid = x.shape[1], len(enter_bias)
    rows = unpack(enter)[:mid, : 3 * WINDOW_ROW].unflatten(1, (3, WINDOW_ROW))[:, :, : 3 * channels]
    first = rows.unflatten(2, (3, channels)).permute(0, 3, 1, 2)
    h = torch.conv2d(x, first, enter_bias.to(x.dtype), stride=2, padding=1).relu()
    g = involve(h, (reduce, reduce_bias, span, span_bias, scale, shift), groups, window, [1, 1], [1, 1])
    last = unpack(leave)[: len(leave_bias)].unflatten(1, (3, 3, mid)).permute(0, 3, 1, 2)
    f = torch.conv2d(g, last, leave_bias.to(x.dtype), padding=1).relu()
    return F.max_pool2d(f, 3, 2, 1).contiguous(memory_format=torch.channels_last)


@register_flop_formula(_op)
def _flops(x: Ints, *arguments: Any, **_: Any) -> int:
    mid, reduced, out = arguments[1][0], arguments[3][0], arguments[9][0]
    groups, window = arguments[10:]
    batch, channels, height, width = x
    pixels, taps = batch * -(-height // 2) * -(-width // 2), window[0] * window[1]
    return 2 * pixels * (9 * channels * mid + mid * (reduced + taps) + reduced * groups * taps + 9 * mid * out)


LIBRARY.impl("stem", _reference, "CompositeExplicitAutograd")
for _device in ("cpu", "cuda"):
    LIBRARY.impl("stem", autocast(_op, _device), f"Autocast{_device.upper()}")
torch.library.register_fake("involution::stem", _fake, lib=LIBRARY)
