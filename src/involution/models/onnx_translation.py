"""The spanned involution in standard ONNX operators, as `torch.onnx.export(custom_translation_table=...)` takes it.

A convolution with one-hot filters gathers the windows of every channel, as unfold does; they are multiplied by the
kernels and summed. Slices of the image, one for every tap, would take ten times as many nodes.
Batch, height and width may be dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript import opset18 as op

Ints = Sequence[int]
_DTYPES = {ir.DataType.FLOAT: np.float32, ir.DataType.DOUBLE: np.float64, ir.DataType.FLOAT16: np.float16}


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
    size = op.Shape(reduced, start=2, end=4)
    kernel = op.Reshape(kernel, op.Concat(_ints(-1, groups, 1, taps), size, axis=0))
    one_hot = np.eye(taps, dtype=_DTYPES[weight.dtype]).reshape(taps, 1, *window)
    ends = [d * (k - 1) - p for d, k, p in zip(dilation, window, padding, strict=True)]
    windows = op.Conv(
        op.Reshape(x, op.Concat(_ints(-1, 1), op.Shape(x, start=2, end=4), axis=0)),
        _constant(one_hot),
        strides=list(stride),
        dilations=list(dilation),
        pads=[*padding, *ends],
    )  # [B·C, Kh·Kw, Ho, Wo]
    windows = op.Reshape(windows, op.Concat(_ints(-1, groups, channels // groups, taps), size, axis=0))
    y = op.ReduceSum(op.Mul(kernel, windows), _ints(3), keepdims=0)
    return op.Reshape(y, op.Concat(_ints(-1, channels), size, axis=0))


def _ints(*values: int) -> Any:
    return _constant(np.array(values, np.int64))


def _constant(values: Any) -> Any:
    return op.Constant(value=onnx.numpy_helper.from_array(values))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.involution.involution2d_spanned.default: involution2d_spanned
}
