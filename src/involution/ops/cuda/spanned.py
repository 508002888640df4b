"""The spanned involution: kernels of a few pixels at a time from the tensor cores, used at once, never in memory."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from involution.ops import spanned
from involution.ops.cuda import launch
from involution.ops.cuda.launch import SIZES, Ints
from involution.ops.cuda.precision import product, product_mode
from involution.ops.cuda.taps import unbind
from involution.ops.cuda.tile import at, block, by_channel, by_group, by_quad, quads, store_quads
from involution.ops.cuda.y import slide
from involution.ops.layout import empty_spanned


@triton.jit
def pixels_of_quads(tile, B, rows, columns, band, strides, TQ: tl.constexpr, INDEX: tl.constexpr):
    """Return where the pixels of a tile's quads lie, one after the other, and whether they exist; [4·TQ] each."""
    p = tl.arange(0, 4 * TQ)
    image, row, column, exist = quads(tile, p // 4, B, rows, columns, band, TQ, INDEX)
    column += p % 4
    return at(image, row, column, strides), exist & (column < columns)


@triton.jit
def features_of(reduced, pixels, exist, first, R, step, TR: tl.constexpr):
    """Load TR features of some pixels from number `first` on, [pixel, TR]."""
    r = first + tl.arange(0, TR)
    return tl.load(reduced + pixels[:, None] + r[None, :] * step, mask=exist[:, None] & (r < R)[None, :], other=0)


@triton.jit
def span_row(
    reduced,
    weight,
    bias,
    pixels,
    exist,
    taps,
    taps_exist,
    first,
    R,
    step,
    weight_strides,
    TR: tl.constexpr,
    CHUNKED: tl.constexpr,
    BIASED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Return weight · reduced + bias for some pixels and some taps, [pixel, tap], in float32.

    Args:
        pixels, exist: where the pixels lie in `reduced`, and whether they do.
        taps, taps_exist: rows of `weight`, and whether there are such.
        first: the first TR features of the pixels.
        step: between the features of a pixel.
    """
    r = tl.arange(0, TR)
    rows = weight + taps[None, :] * weight_strides[0]
    kernel = tl.full((first.shape[0], taps.shape[0]), 0, tl.float32)
    if BIASED:
        kernel += tl.load(bias + taps, mask=taps_exist, other=0).to(tl.float32)[None, :]
    w = tl.load(rows + r[:, None] * weight_strides[1], mask=(r < R)[:, None] & taps_exist[None, :], other=0)
    kernel = product(first, w, kernel, PRECISION)
    if CHUNKED:
        for r0 in range(TR, R, TR):
            exist_r = (r0 + r < R)[:, None] & taps_exist[None, :]
            w = tl.load(rows + (r0 + r)[:, None] * weight_strides[1], mask=exist_r, other=0)
            kernel = product(features_of(reduced, pixels, exist, r0, R, step, TR), w, kernel, PRECISION)
    return kernel


@triton.jit(do_not_specialize=SIZES)
def aggregate(
    y,
    x,
    reduced,
    weight,
    bias,
    B,
    G,
    R,
    H,
    W,
    Ho,
    Wo,
    band,
    PH,
    PW,
    y_strides,
    x_strides,
    reduced_strides,
    weight_strides,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    D: tl.constexpr,
    TQ: tl.constexpr,
    TG: tl.constexpr,
    TD: tl.constexpr,
    TR: tl.constexpr,
    KP: tl.constexpr,
    CHUNKED: tl.constexpr,
    BIASED: tl.constexpr,
    LAST: tl.constexpr,
    INDEX: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """y from reduced features."""
    tile, g0, d0 = block(G, D, TG, TD)
    image, row, column, exists = quads(tile, tl.arange(0, TQ), B, Ho, Wo, band, TQ, INDEX)
    g = (g0 + tl.arange(0, TG)).to(INDEX)
    d = (d0 + tl.arange(0, TD)).to(INDEX)
    lanes = by_quad(exists, LAST) & by_group(g < G) & by_channel(d < D, LAST)
    channel = by_group(g * D) + by_channel(d, LAST)

    pixels, exist = pixels_of_quads(tile, B, Ho, Wo, band, reduced_strides, TQ, INDEX)
    first = features_of(reduced, pixels, exist, 0, R, reduced_strides[1], TR)  # stays in shared memory
    t = tl.arange(0, TG * KP)
    taps = (g0 + t // KP) * (KH * KW) + t % KP
    taps_exist = (g0 + t // KP < G) & (t % KP < KW)

    top, left = row * SH - PH, column * SW - PW
    offsets = by_quad(at(image, top, left, x_strides), LAST) + channel * x_strides[1]
    acc = (tl.full(lanes.shape, 0, tl.float32),) * 4
    for u in range(KH):
        kernel = span_row(
            reduced,
            weight,
            bias,
            pixels,
            exist,
            taps + u * KW,
            taps_exist,
            first,
            R,
            reduced_strides[1],
            weight_strides,
            TR,
            CHUNKED,
            BIASED,
            PRECISION,
        )
        kernel = tl.reshape(kernel, (TQ, 4, TG, KP))
        if LAST:
            kernel = tl.reshape(tl.permute(kernel, (0, 2, 1, 3)), (TQ, TG, 4 * KP))
        else:
            kernel = tl.reshape(tl.permute(kernel, (2, 0, 1, 3)), (TG, TQ, 4 * KP))
        columns = unbind(kernel, 4 * KP, tl.float32, LAST)
        down = top + u * DH
        rows = lanes & by_quad((down >= 0) & (down < H), LAST)
        row_of_x = x + tl.cast(u * DH, tl.int64) * x_strides[2]
        acc = slide(acc, columns, row_of_x, offsets, x_strides[3], rows, left, W, KW, SW, DW, KP, LAST)

    offsets = by_quad(at(image, row, column, y_strides), LAST) + channel * y_strides[1]
    store_quads(y + offsets, y_strides[3], acc, column, Wo, lanes, LAST)


def involution2d_spanned(
    x: Tensor,
    reduced: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> Tensor:
    """`involution2d` with kernels that are made and used in registers; see `involution.ops.spanned`."""
    if launch.two_steps(x):
        return spanned.involution2d_spanned(x, reduced, weight, bias, groups, window, stride, padding, dilation)
    y = empty_spanned(x, reduced)
    if y.numel() == 0:
        return y
    bias = None if bias is None else bias.contiguous()
    batch, features, rows, columns = reduced.shape
    depth = x.shape[1] // groups
    tile = launch.tile(groups, depth, x.itemsize, x.stride(1) == 1)
    at_once = launch.features(features)
    grid = launch.programs(batch, rows, columns, tile.TQ) * launch.blocks(groups, depth, tile)
    with launch.on_device(x):
        aggregate[(grid,)](
            y,
            x,
            reduced,
            weight,
            bias,
            batch,
            groups,
            features,
            *x.shape[2:],
            rows,
            columns,
            launch.band(rows),
            *padding,
            y.stride(),
            x.stride(),
            reduced.stride(),
            weight.stride(),
            **launch.constants(window, stride, dilation, tile, x),
            D=depth,
            TR=at_once,
            KP=launch.taps(window[1], tile),
            CHUNKED=features > at_once,
            BIASED=bias is not None,
            INDEX=launch.index_dtype(x, reduced, y),
            PRECISION=product_mode(),
        )
    return y
