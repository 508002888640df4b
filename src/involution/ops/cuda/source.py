"""Sources of the taps of a window: stored kernels, or a product of reduced features and weights.

`plan.TR` selects the source: programs are otherwise identical.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from involution.ops.cuda.precision import product
from involution.ops.cuda.taps import nearest, unbind
from involution.ops.cuda.tile import Array, at, pair_group, pair_quad, quads


class Span(NamedTuple):
    """Reduced features, and the weight and bias that generate kernels from them."""

    reduced: Any  # Array
    weight: Any  # Array
    bias: Any


@triton.jit
def stored(source, skb, skg, sku, skh):
    """Return stored kernels with all their strides; see `launch.SIZES` for those that are passed separately."""
    return Array(source.data, (skb, skg, sku, source.strides[0], skh, source.strides[1]))


@triton.jit
def pixels_of_quads(tile, sizes, strides, plan: tl.constexpr):
    """Return the positions of the pixels of a tile's quads, in order, and whether they exist; [4·TQ] each."""
    p = tl.arange(0, 4 * plan.TQ)
    image, row, column, exist = quads(tile, p // 4, sizes, plan)
    column += p % 4
    return at(image, row, column, strides), exist & (column < sizes.columns)


@triton.jit
def features_of(reduced, pixels, exist, first, R, plan: tl.constexpr):
    """Load TR features of some pixels from number `first` on, [pixel, TR]."""
    r = (first + tl.arange(0, plan.TR)).to(plan.INDEX)
    address = reduced.data + pixels[:, None] + r[None, :] * reduced.strides[1]
    return tl.load(address, mask=exist[:, None] & (r < R)[None, :], other=0)


@triton.jit
def multiply(source, pixels, exist, first, taps, taps_exist, R, plan: tl.constexpr):
    """Return weight · reduced + bias for some pixels and some taps, [pixel, tap], in float32.

    Args:
        source: a `Span`.
        pixels, exist: positions of the pixels in `reduced`, and whether they exist.
        first: the first TR features of the pixels.
        taps, taps_exist: rows of `weight`, and whether they exist.
        R: number of features.
    """
    kernel = tl.full((pixels.shape[0], taps.shape[0]), 0, tl.float32)
    if plan.BIASED:
        kernel += tl.load(source.bias + taps, mask=taps_exist, other=0).to(tl.float32)[None, :]
    r = tl.arange(0, plan.TR)
    weight = source.weight
    rows = weight.data + taps.to(plan.INDEX)[None, :] * weight.strides[0]
    columns = r.to(plan.INDEX)[:, None] * weight.strides[1]
    w = tl.load(rows + columns, mask=(r < R)[:, None] & taps_exist[None, :], other=0)
    kernel = product(first, w, kernel, plan)
    if plan.CHUNKED:
        for r0 in range(plan.TR, R, plan.TR):
            columns = (r0 + r).to(plan.INDEX)[:, None] * weight.strides[1]
            w = tl.load(rows + columns, mask=(r0 + r < R)[:, None] & taps_exist[None, :], other=0)
            kernel = product(features_of(source.reduced, pixels, exist, r0, R, plan), w, kernel, plan)
    return kernel


@triton.jit
def quads_of_taps(here, strides, sizes, plan: tl.constexpr):
    """Return the position of tap v of pixel i in row 0 of the kernels, and whether it exists, [., ., 4, KP].

    Neighbours are contiguous in memory whether taps or pixels are densest.
    """
    k = pair_quad(at(here.image, here.row, here.column, (strides[0], strides[1], strides[4], strides[5])), plan)
    k += pair_group(here.g * strides[1], plan)
    i = tl.arange(0, 4).to(plan.INDEX)[None, None, :, None]
    v = tl.arange(0, plan.KP).to(plan.INDEX)[None, None, None, :]
    exist = (pair_quad(here.exists, plan) & pair_group(here.g < sizes.G, plan))[:, :, None, None]
    exist = exist & (pair_quad(here.column, plan)[:, :, None, None] + i < sizes.columns) & (v < plan.KW)
    return k[:, :, None, None] + i * strides[5] + v * strides[3], exist


@triton.jit
def rows_of_taps(source, tile, here, g0, sizes, R, plan: tl.constexpr):
    """Return the arguments of `row_of_taps` that are shared by all rows of the window."""
    if plan.TR == 0:
        k, exist = quads_of_taps(here, source.strides, sizes, plan)
        rows = (k, exist)
    else:
        pixels, exist = pixels_of_quads(tile, sizes, source.reduced.strides, plan)
        first = features_of(source.reduced, pixels, exist, 0, R, plan)  # stays in shared memory
        t = tl.arange(0, plan.TG * plan.KP)
        g = g0 + t // plan.KP
        taps = g * (plan.KH * plan.KW) + t % plan.KP
        rows = (pixels, exist, first, taps, (g < sizes.G) & (t % plan.KP < plan.KW))  # type: ignore[assignment]
    return rows


@triton.jit
def row_of_taps(source, rows, u, R, plan: tl.constexpr):
    """Return row u of the kernels of every quad and group, `unbind` of [., ., 4·KP]."""
    if plan.TR == 0:
        taps = tl.load(source.data + tl.cast(u, tl.int64) * source.strides[2] + rows[0], mask=rows[1], other=0)
        taps = tl.reshape(taps, (taps.shape[0], taps.shape[1], 4 * plan.KP))
    else:
        taps = multiply(source, rows[0], rows[1], rows[2], rows[3] + u * plan.KW, rows[4], R, plan)
        taps = tl.reshape(taps, (plan.TQ, 4, plan.TG, plan.KP))
        if plan.LAST:
            taps = tl.reshape(tl.permute(taps, (0, 2, 1, 3)), (plan.TQ, plan.TG, 4 * plan.KP))
        else:
            taps = tl.reshape(tl.permute(taps, (2, 0, 1, 3)), (plan.TG, plan.TQ, 4 * plan.KP))
    return unbind(taps, 4 * plan.KP, plan)


@triton.jit
def columns_of_taps(source, here, first, g0, sizes, plan: tl.constexpr):
    """Return the arguments of `column_of_taps` that all outputs share that read a quad of x, from column `first`."""
    if plan.TR == 0:
        s = source.strides
        k = pair_quad(at(here.image, here.row, first, (s[0], s[1], s[4], s[5])), plan)
        columns = (k + pair_group(here.g * s[1], plan), pair_group(here.g < sizes.G, plan))
    else:
        t = tl.arange(0, plan.TG * plan.KP)
        g = g0 + t // plan.KP
        pixels = at(here.image, here.row, first, source.reduced.strides)
        exist = (g < sizes.G) & (t % plan.KP < 4)
        columns = (pixels, g * (plan.KH * plan.KW), exist, t % plan.KP)  # type: ignore[assignment]
    return columns


@triton.jit
def column_of_taps(source, columns, u, up, offset: tl.constexpr, inside, R, plan: tl.constexpr):
    """Return the taps of row u through which one output reads the four pixels of a quad, `unbind` of [., ., KP].

    Args:
        source, columns: the source of taps, and its `columns_of_taps`.
        up, offset: the output, in rows and columns from the first; `inside` is true for quads for which it exists.
    """
    far, across = tl.cast(up, tl.int64), tl.cast(offset, tl.int64)
    distance = plan.PHASE - plan.SW * (offset + nearest(plan))
    if plan.TR == 0:
        v = distance + plan.SW * tl.arange(0, 4)
        exist = (v % plan.DW == 0) & (v >= 0) & (v // plan.DW < plan.KW)
        exist = (pair_quad(inside, plan) & columns[1])[:, :, None] & exist
        s = source.strides
        row = source.data + tl.cast(u, tl.int64) * s[2] + far * s[4] + across * s[5]
        taps = tl.load(row + (columns[0][:, :, None] + (v // plan.DW).to(plan.INDEX) * s[3]), mask=exist, other=0)
    else:
        v = distance + plan.SW * columns[3]
        exist = columns[2] & (v % plan.DW == 0) & (v >= 0) & (v // plan.DW < plan.KW)
        s = source.reduced.strides
        there = Array(source.reduced.data + far * s[2] + across * s[3], s)
        features = features_of(there, columns[0], inside, 0, R, plan)
        span = Span(there, source.weight, source.bias)
        taps = columns[1] + u * plan.KW + v // plan.DW
        taps = multiply(span, columns[0], inside, features, taps, exist, R, plan)
        taps = tl.reshape(taps, (plan.TQ, plan.TG, plan.KP))
        if not plan.LAST:
            taps = tl.permute(taps, (1, 0, 2))
    return unbind(taps, plan.KP, plan)
