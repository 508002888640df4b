"""The first convolution of a residual block together with the shortcut, in training on CPU; elsewhere, the modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from involution.layers.conv import fused_stride
from involution.layers.norm import NormActSequential, forward
from involution.layers.span import hooked
from involution.ops.fused.pointwise import pointwise_conv


def conv_shortcut(conv: nn.Module, shortcut: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return conv(x) and shortcut(x).

    Where `conv` is the operator of `involution.layers.conv`, it adds the gradients of both. If the shortcut then begins
    with a strided 1x1 convolution, that is the operator too, of the pixels that the stride selects.

    Args:
        conv, shortcut: any modules.
        x: [B, C, H, W].
    """
    if fused_stride(conv, x) != 1:
        return conv(x), shortcut(x)
    weight: Any = conv.weight
    stride, projection, rest = _split(shortcut, x)
    y, x = pointwise_conv(x, weight, stride)
    if stride == 1:
        return y, shortcut(x)
    return y, forward(rest, pointwise_conv(x, projection.weight)[0])


def _split(shortcut: nn.Module, x: Tensor) -> tuple[int, Any, list[nn.Module]]:
    """Return the stride of the convolution that the shortcut begins with, the convolution, and the modules after it."""
    if type(shortcut) is NormActSequential and len(shortcut) and not hooked(shortcut):
        projection, *rest = shortcut
        return fused_stride(projection, x) or 1, projection, rest
    return 1, None, []
