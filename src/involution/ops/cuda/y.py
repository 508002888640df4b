"""∂T/∂g: every window of x, summed with the kernel of its output pixel."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from involution.ops.cuda import launch
from involution.ops.cuda.launch import SIZES, Ints
from involution.ops.cuda.precision import sum_dtype, widen
from involution.ops.cuda.taps import place, put, reach, seen, tap, unbind
from involution.ops.cuda.tile import (
    at,
    block,
    by_channel,
    by_group,
    by_quad,
    over_channels,
    pair_group,
    pair_quad,
    quads,
    store_quads,
)
from involution.ops.layout import empty_y


@triton.jit
def slide(
    acc,
    taps,
    x,
    offsets,
    step,
    lanes,
    column,
    columns,
    KW: tl.constexpr,
    SW: tl.constexpr,
    DW: tl.constexpr,
    KP: tl.constexpr,
    LAST: tl.constexpr,
):
    """Add one row of the window: read every pixel once, multiply it into all windows of the quad that hold it.

    Args:
        acc: four sums, one per pixel of the quad.
        taps: the kernels of the row, `unbind` of [., ., 4·KP].
        x, offsets: where the first column that the quad sees begins.
        step: between neighbouring columns in memory.
        lanes: which channels there are, and which rows lie in the image.
        column: the first column that the quad sees, [quad].
        columns: of the image.
    """
    for offset in tl.static_range(reach(KW, SW, DW)):
        if seen(offset, KW, SW, DW):
            inside = by_quad((column + offset >= 0) & (column + offset < columns), LAST)
            seen_x = widen(
                tl.load(x + tl.cast(offset, tl.int64) * step + offsets, mask=lanes & inside, other=0),
                acc[0].dtype,
                LAST,
            )
            for i in tl.static_range(4):
                if tap(offset, i, KW, SW, DW) >= 0:
                    k = over_channels(taps[place(i * KP + tap(offset, i, KW, SW, DW), 4 * KP)], LAST)
                    k = tl.broadcast_to(k, seen_x.shape)
                    acc = put(acc, i, tl.fma(k, seen_x, acc[i]))
    return acc


@triton.jit(do_not_specialize=SIZES)
def aggregate(
    y,
    x,
    kernel,
    B,
    G,
    H,
    W,
    Ho,
    Wo,
    band,
    PH,
    PW,
    y_strides,
    x_strides,
    skb,
    skg,
    sku,
    skv,
    skh,
    skw,
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
    KP: tl.constexpr,
    LAST: tl.constexpr,
    ACC: tl.constexpr,
    INDEX: tl.constexpr,
):
    """y from stored kernels."""
    tile, g0, d0 = block(G, D, TG, TD)
    image, row, column, exists = quads(tile, tl.arange(0, TQ), B, Ho, Wo, band, TQ, INDEX)
    g = (g0 + tl.arange(0, TG)).to(INDEX)
    d = (d0 + tl.arange(0, TD)).to(INDEX)
    lanes = by_quad(exists, LAST) & by_group(g < G) & by_channel(d < D, LAST)
    channel = by_group(g * D) + by_channel(d, LAST)

    # Tap v of pixel i, [., ., 4, KP]: neighbours in memory whether taps or pixels lie densest there.
    k = pair_quad(at(image, row, column, (skb, skg, skh, skw)), LAST) + pair_group(g * skg, LAST)
    i, v = tl.arange(0, 4)[None, None, :, None], tl.arange(0, KP)[None, None, None, :]
    k = k[:, :, None, None] + i * skw + v * skv
    held = (pair_quad(exists, LAST) & pair_group(g < G, LAST))[:, :, None, None]
    held = held & (pair_quad(column, LAST)[:, :, None, None] + i < Wo) & (v < KW)

    top, left = row * SH - PH, column * SW - PW
    offsets = by_quad(at(image, top, left, x_strides), LAST) + channel * x_strides[1]
    acc = (tl.full(lanes.shape, 0, ACC),) * 4
    for u in range(KH):
        taps = tl.load(kernel + tl.cast(u, tl.int64) * sku + k, mask=held, other=0)
        taps = unbind(tl.reshape(taps, (taps.shape[0], taps.shape[1], 4 * KP)), 4 * KP, ACC, LAST)
        down = top + u * DH
        rows = lanes & by_quad((down >= 0) & (down < H), LAST)
        acc = slide(
            acc,
            taps,
            x + tl.cast(u * DH, tl.int64) * x_strides[2],
            offsets,
            x_strides[3],
            rows,
            left,
            W,
            KW,
            SW,
            DW,
            KP,
            LAST,
        )

    offsets = by_quad(at(image, row, column, y_strides), LAST) + channel * y_strides[1]
    store_quads(y + offsets, y_strides[3], acc, column, Wo, lanes, LAST)


def involution2d(x: Tensor, kernel: Tensor, stride: Ints, padding: Ints, dilation: Ints) -> Tensor:
    """y = ∂T/∂g; see `involution.involution2d`."""
    y = empty_y(x, kernel, stride, padding, dilation)
    if y.numel() == 0:
        return y
    batch, groups, *window, rows, columns = kernel.shape
    depth = x.shape[1] // groups
    tile = launch.tile(groups, depth, x.itemsize, x.stride(1) == 1)
    grid = launch.programs(batch, rows, columns, tile.TQ) * launch.blocks(groups, depth, tile)
    with launch.on_device(x):
        aggregate[(grid,)](
            y,
            x,
            kernel,
            batch,
            groups,
            *x.shape[2:],
            rows,
            columns,
            launch.band(rows),
            *padding,
            y.stride(),
            x.stride(),
            *kernel.stride(),
            **launch.constants(window, stride, dilation, tile, x),
            D=depth,
            KP=launch.power(window[1]),
            ACC=sum_dtype(x),
            INDEX=launch.index_dtype(x, kernel, y),
        )
    return y
