"""∂T/∂k: every output gradient times the pixels of its window, summed over the channels of the group."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from involution.ops.cuda import launch
from involution.ops.cuda.launch import SIZES, Ints
from involution.ops.cuda.precision import sum_dtype, widen
from involution.ops.cuda.taps import add, bind, place, put, reach, seen, tap, unbind
from involution.ops.cuda.tile import (
    at,
    block,
    by_channel,
    by_group,
    by_quad,
    load_quads,
    pair_group,
    pair_quad,
    quads,
)
from involution.ops.layout import empty_grad_kernel


@triton.jit
def channel_parts(t, VECTOR: tl.constexpr, ACC: tl.constexpr, LAST: tl.constexpr):
    """[quad, group, channel] or [channel, group, quad] → VECTOR tensors, [quad·group, .]: a thread's own channels."""
    t = widen(t, ACC, LAST)
    if not LAST:
        t = tl.permute(t, (1, 2, 0))
    t = tl.reshape(t, (t.shape[0] * t.shape[1], t.shape[2] // VECTOR, VECTOR))
    return unbind(t, VECTOR, ACC, LAST)


@triton.jit
def dot_channels(a, b, VECTOR: tl.constexpr):
    """Return Σ a·b over the channels, [quad·group]; without adding what `fma` can."""
    total = a[0] * b[0]
    for c in tl.static_range(1, VECTOR):
        total = tl.fma(a[c], b[c], total)
    return tl.sum(total, axis=1)


@triton.jit
def correlate(
    sums,
    grads,
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
    VECTOR: tl.constexpr,
    ACC: tl.constexpr,
    LAST: tl.constexpr,
    ALONE: tl.constexpr,
):
    """Add one row of the window: read every pixel once, multiply it with the gradients of all windows that hold it.

    Args:
        sums: one per tap and pixel of the quad, as `unbind` orders them.
        grads: the gradients at the four pixels, `channel_parts` of each.
        x, offsets, step, lanes, column, columns: as in `y.slide`.
        ALONE: whether these are all channels of the group.
    """
    for offset in tl.static_range(reach(KW, SW, DW)):
        if seen(offset, KW, SW, DW):
            inside = by_quad((column + offset >= 0) & (column + offset < columns), LAST)
            address = x + tl.cast(offset, tl.int64) * step + offsets
            parts = channel_parts(tl.load(address, mask=lanes & inside, other=0), VECTOR, ACC, LAST)
            for i in tl.static_range(4):
                if tap(offset, i, KW, SW, DW) >= 0:
                    more = tl.reshape(dot_channels(grads[i], parts, VECTOR), sums[0].shape)
                    if ALONE:
                        sums = put(sums, place(i * KP + tap(offset, i, KW, SW, DW), 4 * KP), more)
                    else:
                        sums = add(sums, place(i * KP + tap(offset, i, KW, SW, DW), 4 * KP), more)
    return sums


@triton.jit
def grads_of_quads(
    grad, offsets, strides, column, columns, lanes, VECTOR: tl.constexpr, ACC: tl.constexpr, LAST: tl.constexpr
):
    """Load the gradients at the four pixels of every quad, `channel_parts` of each."""
    first, second, third, fourth = load_quads(grad + offsets, strides[3], column, columns, lanes, LAST)
    return (
        channel_parts(first, VECTOR, ACC, LAST),
        channel_parts(second, VECTOR, ACC, LAST),
        channel_parts(third, VECTOR, ACC, LAST),
        channel_parts(fourth, VECTOR, ACC, LAST),
    )


@triton.jit
def row_of_kernel(
    u,
    grads,
    grad,
    x,
    grad_offsets,
    x_offsets,
    grad_strides,
    x_strides,
    exists,
    top,
    left,
    column,
    g,
    G,
    H,
    W,
    Wo,
    KW: tl.constexpr,
    SW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    D: tl.constexpr,
    TQ: tl.constexpr,
    TG: tl.constexpr,
    TD: tl.constexpr,
    KP: tl.constexpr,
    VECTOR: tl.constexpr,
    LAST: tl.constexpr,
    ACC: tl.constexpr,
):
    """Return row u of the kernels' gradient, [., ., 4·KP].

    Args:
        grads: the gradients at the four pixels, if the channels of a group fit into the tile.
        grad_offsets, x_offsets: of the first channel of every group, at the quad and at the corner of its window.
    """
    down = top + u * DH
    inside = by_quad(exists & (down >= 0) & (down < H), LAST) & by_group(g < G)
    row = x + tl.cast(u * DH, tl.int64) * x_strides[2]
    sums = (tl.full((TQ, TG) if LAST else (TG, TQ), 0, ACC),) * (4 * KP)
    if D <= TD:
        lanes = inside & by_channel(tl.arange(0, TD) < D, LAST)
        offsets = x_offsets + by_channel(tl.arange(0, TD), LAST) * x_strides[1]
        sums = correlate(
            sums, grads, row, offsets, x_strides[3], lanes, left, W, KW, SW, DW, KP, VECTOR, ACC, LAST, True
        )
    else:
        for d0 in range(0, D, TD):
            d = d0 + tl.arange(0, TD)
            lanes = inside & by_channel(d < D, LAST)
            offsets = grad_offsets + by_channel(d, LAST) * grad_strides[1]
            some = grads_of_quads(grad, offsets, grad_strides, column, Wo, lanes, VECTOR, ACC, LAST)
            offsets = x_offsets + by_channel(d, LAST) * x_strides[1]
            sums = correlate(
                sums, some, row, offsets, x_strides[3], lanes, left, W, KW, SW, DW, KP, VECTOR, ACC, LAST, False
            )
    return bind(sums, 4 * KP)


@triton.jit(do_not_specialize=SIZES)
def scatter(
    grad_kernel,
    grad,
    x,
    B,
    G,
    H,
    W,
    Ho,
    Wo,
    band,
    PH,
    PW,
    skb,
    skg,
    sku,
    skv,
    skh,
    skw,
    grad_strides,
    x_strides,
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
    VECTOR: tl.constexpr,
    LAST: tl.constexpr,
    ACC: tl.constexpr,
    INDEX: tl.constexpr,
):
    """The gradient of stored kernels."""
    tile, g0, _ = block(G, TD, TG, TD)
    image, row, column, exists = quads(tile, tl.arange(0, TQ), B, Ho, Wo, band, TQ, INDEX)
    g = (g0 + tl.arange(0, TG)).to(INDEX)
    top, left = row * SH - PH, column * SW - PW
    lanes = by_quad(exists, LAST) & by_group(g < G)
    x_offsets = by_quad(at(image, top, left, x_strides), LAST) + by_group(g * D * x_strides[1])
    grad_offsets = by_quad(at(image, row, column, grad_strides), LAST) + by_group(g * D * grad_strides[1])
    d = tl.arange(0, TD)
    offsets = grad_offsets + by_channel(d, LAST) * grad_strides[1]
    lanes = lanes & by_channel(d < D, LAST)
    grads = grads_of_quads(grad, offsets, grad_strides, column, Wo, lanes, VECTOR, ACC, LAST)

    # Tap v of pixel i, as in `y.aggregate`.
    k = pair_quad(at(image, row, column, (skb, skg, skh, skw)), LAST) + pair_group(g * skg, LAST)
    i, v = tl.arange(0, 4)[None, None, :, None], tl.arange(0, KP)[None, None, None, :]
    k = k[:, :, None, None] + i * skw + v * skv
    held = (pair_quad(exists, LAST) & pair_group(g < G, LAST))[:, :, None, None]
    held = held & (pair_quad(column, LAST)[:, :, None, None] + i < Wo) & (v < KW)
    for u in range(KH):
        taps = row_of_kernel(
            u,
            grads,
            grad,
            x,
            grad_offsets,
            x_offsets,
            grad_strides,
            x_strides,
            exists,
            top,
            left,
            column,
            g,
            G,
            H,
            W,
            Wo,
            KW,
            SW,
            DH,
            DW,
            D,
            TQ,
            TG,
            TD,
            KP,
            VECTOR,
            LAST,
            ACC,
        )
        taps = tl.reshape(taps, k.shape).to(grad_kernel.dtype.element_ty)
        tl.store(grad_kernel + tl.cast(u, tl.int64) * sku + k, taps, mask=held)


def involution2d_grad_kernel(
    grad: Tensor, x: Tensor, groups: int, window: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Tensor:
    """∂T/∂k; see `involution.ops.reference`."""
    grad_kernel = empty_grad_kernel(grad, x, groups, window, stride, padding, dilation)
    if grad_kernel.numel() == 0:
        return grad_kernel
    batch, channels, rows, columns = grad.shape
    depth = channels // groups
    tile = launch.tile(groups, depth, grad.itemsize, grad.stride(1) == 1)
    grid = launch.programs(batch, rows, columns, tile.TQ) * launch.blocks(groups, tile.TD, tile)
    with launch.on_device(grad):
        scatter[(grid,)](
            grad_kernel,
            grad,
            x,
            batch,
            groups,
            *x.shape[2:],
            rows,
            columns,
            launch.band(rows),
            *padding,
            *grad_kernel.stride(),
            grad.stride(),
            x.stride(),
            **launch.constants(window, stride, dilation, tile, x),
            D=depth,
            KP=launch.power(window[1]),
            VECTOR=launch.vector(x, tile),
            ACC=sum_dtype(x),
            INDEX=launch.index_dtype(x, grad, grad_kernel),
        )
    return grad_kernel
