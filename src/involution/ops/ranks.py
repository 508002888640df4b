"""Involution in one and three dimensions, by the two-dimensional operators.

A sequence is an image of one row; the result for a volume is a sum over depths. Arguments have been checked. Stride,
padding in front, dilation and scale have one entry per axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from involution.ops import axes, softmax
from involution.ops.autograd import call
from involution.ops.geometry import Geometry
from involution.ops.layout import is_channels_last
from involution.ops.reference import pad, widen

Ints = Sequence[int]

_ops = torch.ops.involution


def aggregate(
    x: Tensor,
    kernel: Tensor,
    geometry: Geometry,
    scale: Ints | None = None,
    interleaved: bool = False,
    normalize: bool = False,
) -> Tensor:
    """Return the involution of `x` with kernels [B, G, *window, *out]; `scale` is None if it is one.

    With `normalize`, the kernels are the softmax of `kernel` over the window.
    """
    rank = x.dim() - 2
    if rank == 2:
        return _aggregate(x, kernel, geometry, scale, interleaved, normalize)
    if rank == 1:
        one_row, row = kernel.unsqueeze(2).unsqueeze(4), scale and [1, *scale]
        return _aggregate(x.unsqueeze(2), one_row, _row(geometry), row, interleaved, normalize).squeeze(2)
    if normalize:  # over all depths of the window, which are summed one by one
        kernel = softmax.kernels(kernel, rank)
    taps, depth = kernel.shape[2], kernel.shape[5]
    kernels = kernel.permute(2, 0, 5, 1, 3, 4, 6, 7).flatten(1, 2)  # [Kd, B·Do, G, Kh, Kw, Ho, Wo]
    terms = [
        _aggregate(widen(seen), widen(kernels[t]), _plane(geometry), scale and scale[1:], interleaved)
        for t, seen in enumerate(_depth_slices(x, taps, depth, geometry, scale))
    ]
    return _sum(terms, x, depth)


def _aggregate(
    x: Tensor, kernel: Tensor, geometry: Geometry, scale: Ints | None, interleaved: bool, normalize: bool = False
) -> Tensor:
    op = _ops.involution2d_softmax if normalize else _ops.involution2d
    if interleaved:
        x = axes.split_channels(x, kernel.shape[1])
    if scale:
        kernel = axes.split_pixels(kernel, scale)
    y = call(op, x, kernel, *geometry)
    if scale:
        y = axes.merge_pixels(y)
    return axes.merge_channels(y) if interleaved else y


def aggregate_spanned(
    x: Tensor, reduced: Tensor, weight: Tensor, bias: Tensor | None, groups: int, window: Ints, geometry: Geometry
) -> Tensor:
    """Return the involution of `x` with the kernels weight · reduced + bias."""
    rank = x.dim() - 2
    op = partial(call, _ops.involution2d_spanned)
    if rank == 2:
        return op(x, reduced, weight, bias, groups, window, *geometry)
    if rank == 1:
        one_row = [1, *window]
        return op(x.unsqueeze(2), reduced.unsqueeze(2), weight, bias, groups, one_row, *_row(geometry)).squeeze(2)
    weights = widen(weight).unflatten(0, (groups, window[0], -1))  # [G, Kd, Kh·Kw, R]
    biases = None if bias is None else widen(bias).unflatten(0, (groups, window[0], -1))
    features = widen(_planes(reduced))
    slices = _depth_slices(x, window[0], reduced.shape[2], geometry)
    terms = [
        op(
            widen(seen),
            features,
            weights[:, t].flatten(0, 1),
            None if biases is None else biases[:, t].flatten(),
            groups,
            window[1:],
            *_plane(geometry),
        )
        for t, seen in enumerate(slices)
    ]
    return _sum(terms, x, reduced.shape[2])


def correlate(
    query: Tensor,
    key: Tensor,
    groups: int,
    window: Ints,
    geometry: Geometry,
    scale: Ints | None = None,
    interleaved: bool = False,
) -> Tensor:
    """Return the products of every query with the keys of its window, [B, G, *window, *out]."""
    rank = query.dim() - 2
    if rank == 2:
        return _correlate(query, key, groups, window, geometry, scale, interleaved)
    if rank == 1:
        one_row, row = [1, *window], scale and [1, *scale]
        products = _correlate(query.unsqueeze(2), key.unsqueeze(2), groups, one_row, _row(geometry), row, interleaved)
        return products.squeeze(4).squeeze(2)
    batch, depth = query.shape[0], query.shape[2]
    queries, plane = _planes(query), (window[1:], _plane(geometry), scale and scale[1:], interleaved)
    slices = _depth_slices(key, window[0], depth, geometry, scale)
    taps = [_correlate(queries, seen, groups, *plane) for seen in slices]
    products = torch.stack(taps, 2).unflatten(0, (batch, depth))  # [B, Do, G, Kd, Kh, Kw, Ho, Wo]
    return products.movedim(1, 5)


def _correlate(
    query: Tensor, key: Tensor, groups: int, window: Ints, geometry: Geometry, scale: Ints | None, interleaved: bool
) -> Tensor:
    if interleaved:
        query, key = axes.split_channels(query, groups), axes.split_channels(key, groups)
    if scale:
        query = axes.split_pixels(query, scale)
    products = call(_ops.involution2d_grad_kernel, query, key, groups, window, *geometry)
    return axes.merge_pixels(products) if scale else products


def _row(geometry: Geometry) -> Geometry:
    (stride,), (padding,), (dilation,) = geometry
    return [1, stride], [0, padding], [1, dilation]


def _plane(geometry: Geometry) -> Geometry:
    stride, padding, dilation = geometry
    return stride[1:], padding[1:], dilation[1:]


def _depth_slices(x: Tensor, taps: int, out: int, geometry: Geometry, scale: Ints | None = None) -> Iterator[Tensor]:
    """Yield the planes that all outputs read at each depth of the window, [B·Do, C, H, W]."""
    stride, padding, dilation = (values[0] for values in geometry)
    repeats = scale[0] if scale else 1
    reach = (out // repeats - 1) * stride + 1
    behind = reach + (taps - 1) * dilation - padding - x.shape[2]
    x = pad(x, (0, 0, 0, 0, padding, behind))
    for t in range(taps):
        seen = x[:, :, t * dilation : t * dilation + reach : stride]
        yield _planes(seen if repeats == 1 else seen.repeat_interleave(repeats, 2))


def _planes(x: Tensor) -> Tensor:
    """Return [B, C, D, H, W] as [B·D, C, H, W], memory format preserved."""
    if is_channels_last(x):
        return x.movedim(1, 4).flatten(0, 1).movedim(3, 1)
    return x.transpose(1, 2).flatten(0, 1)


def _sum(terms: list[Tensor], x: Tensor, depth: int) -> Tensor:
    """Add the planes of all depths of the window; return a volume in the memory format of `x`.

    The terms are in the accumulation dtype of `x`, so that the sum is rounded once, or in that of autocast.
    """
    dtype = x.dtype if terms[0].dtype == widen(x).dtype else terms[0].dtype
    y = sum(map(widen, terms[1:]), start=widen(terms[0])).to(dtype)
    volume = y.unflatten(0, (x.shape[0], depth)).transpose(1, 2)
    return volume if is_channels_last(x) else volume.contiguous()
