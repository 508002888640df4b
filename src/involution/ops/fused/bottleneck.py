"""A whole bottleneck block as one operator, for inference: see docs/cpu.md.

    h = relu(W₁ x + b₁)
    r = relu(Wᵣ pool(h) + bᵣ)
    g = relu(scale · involution2d(h, Wₛ r + bₛ) + shift)
    y = relu(W₃ g + b₃ + shortcut)        shortcut = x or W_d x + b_d, every stride-th pixel of x

`bottleneck_` writes y to the memory of x, for an identity shortcut.

Weights are given *packed*, in the order in which a product reads them: panels of 32 output channels, [N/32, K, 32] in
float32 and [N/32, K/2, 64] in bfloat16, two input channels side by side. Input channels are padded with zeros to
64 bytes and output channels to a multiple of 16. The layout is the same on every machine, so a prepared network can be
saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from involution.ops.schema import LIBRARY, operator

Ints = Sequence[int]

CHUNK = 4
"""Groups whose kernels are generated together."""
PANEL, REGISTER = 32, 16


def pack(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix [N, K] in panels, and its bias [N] in float32, both padded with zeros."""
    return to_panels(weight), F.pad(bias.float(), [0, -len(bias) % REGISTER])


def to_panels(weight: Tensor) -> Tensor:
    """Return a matrix [N, K] in panels, in the order of its dtype."""
    columns, depth = weight.shape
    together = 1 if weight.dtype == torch.float32 else 2
    weight = F.pad(weight, [0, -depth % (REGISTER * together), 0, -columns % PANEL])
    return weight.unflatten(0, (-1, PANEL)).unflatten(2, (-1, together)).transpose(1, 2).flatten(2).contiguous()


def pack_span(weight: Tensor, bias: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the span [G·Kh·Kw, R] packed in chunks of groups, one after the other."""
    together = min(CHUNK, groups)
    taps = len(weight) // groups
    chunks = [
        pack(*(F.pad(value, [*[0] * (2 * value.dim() - 1), together * taps - len(value)]) for value in pair))
        for pair in zip(weight.split(together * taps), bias.split(together * taps), strict=True)
    ]
    return torch.cat([panels for panels, _ in chunks]), torch.cat([bias for _, bias in chunks])


def unpack(panels: Tensor) -> Tensor:
    """Return the matrix of some panels, [N, K], with the zero padding."""
    return panels.unflatten(2, (PANEL, -1)).transpose(1, 2).flatten(2).flatten(0, 1)


_op, _op_in_place = operator("bottleneck"), operator("bottleneck_")


def _fake(x: Tensor, *arguments: Any) -> Tensor:
    leave_bias, stride = arguments[9], arguments[12]
    height, width = (-(-size // s) for size, s in zip(x.shape[2:], stride, strict=True))
    return x.new_empty([x.shape[0], height, width, leave_bias.shape[0]]).permute(0, 3, 1, 2)


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
    stride: Ints,
    dilation: Ints,
    projection: bool,
) -> Tensor:
    h = _product(x, enter, enter_bias).relu()
    g = involve(h, (reduce, reduce_bias, span, span_bias, scale, shift), groups, window, stride, dilation)
    if projection:
        y = _product(torch.cat([g, x[:, :, :: stride[0], :: stride[1]]], 1), leave, leave_bias)
    else:
        y = _product(g, leave, leave_bias) + x
    return y.relu().contiguous(memory_format=torch.channels_last)


def _product(x: Tensor, panels: Tensor, bias: Tensor) -> Tensor:
    weight = unpack(panels)[: len(bias), : x.shape[1]]
    return torch.conv2d(x, weight[:, :, None, None], bias.to(x.dtype))


def involve(h: Tensor, packed: Sequence[Tensor], groups: int, window: Ints, stride: Ints, dilation: Ints) -> Tensor:
    """Return g, the involution of h with its norm and activation; reference of both passes."""
    reduce, reduce_bias, span, span_bias, scale, shift = packed
    centre = F.avg_pool2d(h, list(stride), ceil_mode=True) if max(stride) > 1 else h
    r = _product(centre, reduce, reduce_bias).relu()
    together, taps = min(CHUNK, groups), window[0] * window[1]
    chunks = -(-groups // together)
    kernel = [
        _product(r, panels, bias)[:, : together * taps]
        for panels, bias in zip(span.chunk(chunks), span_bias.chunk(chunks), strict=True)
    ]
    kernels = torch.cat(kernel, 1)[:, : groups * taps].unflatten(1, [groups, *window])
    padding = [d * (k - 1) // 2 for d, k in zip(dilation, window, strict=True)]
    g = torch.ops.involution.involution2d(h, kernels, stride, padding, dilation)
    return (g * scale[:, None, None].to(g) + shift[:, None, None].to(g)).relu()


def autocast(op: Any, device: str) -> Any:
    """Return the implementation of `op` under autocast."""
    key = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, f"Autocast{device.upper()}"))

    def cast(x: Tensor, enter: Tensor, *arguments: Any) -> Tensor:
        # The layout of packed weights depends on their dtype, so x is converted to it.
        with torch._C._ExcludeDispatchKeyGuard(key):
            return op(x.to(enter.dtype), enter, *arguments)

    return cast


def _reference_in_place(x: Tensor, *arguments: Any) -> None:
    identity: Any = (x, *arguments, False)
    x.copy_(_reference(*identity))


@register_flop_formula([_op, _op_in_place])
def _flops(x: Ints, *arguments: Any, **_: Any) -> int:
    enter_bias, reduce_bias, leave_bias = arguments[1][0], arguments[3][0], arguments[9][0]
    groups, window, stride = arguments[10:13]
    projection = len(arguments) > 14 and arguments[14]
    batch, channels, height, width = x
    out = batch * -(-height // stride[0]) * -(-width // stride[1])
    taps = window[0] * window[1]
    per_pixel = enter_bias * (reduce_bias + taps) + reduce_bias * groups * taps
    per_pixel += (enter_bias + (channels if projection else 0)) * leave_bias
    return 2 * (batch * height * width * channels * enter_bias + out * per_pixel)


LIBRARY.impl("bottleneck", _reference, "CompositeExplicitAutograd")
LIBRARY.impl("bottleneck_", _reference_in_place, "CompositeExplicitAutograd")
for _device in ("cpu", "cuda"):
    LIBRARY.impl("bottleneck", autocast(_op, _device), f"Autocast{_device.upper()}")
torch.library.register_fake("involution::bottleneck", _fake, lib=LIBRARY)
torch.library.register_fake("involution::bottleneck_", lambda x, *arguments: None, lib=LIBRARY)
