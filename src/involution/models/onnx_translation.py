"""The spanned involution in standard ONNX operators, as `torch.onnx.export(custom_translation_table=...)` takes it.

The windows of every pixel are gathered from channels-last memory, [B, G, Ho·Wo, Kh·Kw, C/G], and one batched matrix
product multiplies them by the kernels. This form was the fastest of those measured in onnxruntime: see
docs/deployment.md. Batch, height and width may be dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import opset18 as op

Ints = Sequence[int]


def involution2d_spanned(
    x: Any,
    reduced: Any,
    weight: Any,
    bias: Any,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> Any:
    """Translate `involution::involution2d_spanned` with the padding of "same".

    Arguments are symbolic values of the graph, except for the geometry.
    """
    groups, channels = int(groups), int(x.shape[1])
    taps = window[0] * window[1]
    span = op.Unsqueeze(weight, _ints(2, 3))
    kernel = op.Conv(reduced, span) if bias is None else op.Conv(reduced, span, bias)
    kernel = op.Transpose(op.Reshape(kernel, _ints(0, groups, taps, -1)), perm=[0, 1, 3, 2])
    ends = [d * (k - 1) - p for d, k, p in zip(dilation, window, padding, strict=True)]
    padded = op.Pad(x, _ints(0, 0, *padding, 0, 0, *ends))
    rows = _positions(op.Shape(reduced, start=2, end=3), window[0], stride[0], dilation[0])
    columns = _positions(op.Shape(reduced, start=3, end=4), window[1], stride[1], dilation[1])
    width = op.Shape(padded, start=3, end=4)
    pixels = op.Add(op.Mul(op.Unsqueeze(rows, _ints(1, 3)), width), op.Unsqueeze(columns, _ints(0, 2)))
    image = op.Transpose(op.Reshape(padded, _ints(0, groups, channels // groups, -1)), perm=[0, 1, 3, 2])
    windows = op.Gather(image, op.Reshape(pixels, _ints(-1, taps)), axis=2)
    y = op.Squeeze(op.MatMul(op.Unsqueeze(kernel, _ints(3)), windows), _ints(3))  # [B, G, Ho·Wo, C/G]
    size = op.Shape(reduced, start=2, end=4)
    return op.Reshape(op.Transpose(y, perm=[0, 1, 3, 2]), op.Concat(_ints(-1, channels), size, axis=0))


def _positions(length: Any, taps: int, stride: int, dilation: int) -> Any:
    """Return the row or column of every tap, [length, taps], for the output rows or columns 0 to length − 1."""
    scalar = [_constant(np.array(value, np.int64)) for value in (0, 1)]
    first = op.Mul(op.Range(scalar[0], op.Squeeze(length), scalar[1]), _ints(stride))
    return op.Add(op.Unsqueeze(first, _ints(1)), _ints(*(dilation * tap for tap in range(taps))))


def _ints(*values: int) -> Any:
    return _constant(np.array(values, np.int64))


def _constant(values: Any) -> Any:
    return op.Constant(value=onnx.numpy_helper.from_array(values))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.involution.involution2d_spanned.default: involution2d_spanned
}
