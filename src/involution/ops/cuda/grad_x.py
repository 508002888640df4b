"""∂T/∂x: every pixel gathers the output gradients of the windows that hold it, each through the kernel there."""

from __future__ import annotations

import math
from collections.abc import Iterator

import triton
import triton.language as tl
from torch import Tensor

from involution.ops.cuda import launch
from involution.ops.cuda.launch import SIZES, Ints
from involution.ops.cuda.precision import sum_dtype, widen
from involution.ops.cuda.taps import back_reach, back_tap, heard, nearest, place, put, unbind
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
from involution.ops.layout import empty_grad_x


@triton.jit
def hear(
    acc,
    columns,
    grad,
    offset: tl.constexpr,
    PHASE: tl.constexpr,
    KW: tl.constexpr,
    SW: tl.constexpr,
    DW: tl.constexpr,
    PIXELS: tl.constexpr,
    LAST: tl.constexpr,
):
    """Add the gradients of one column, through the taps that lead from it to the four pixels of the quad."""
    for i in tl.static_range(4):
        if back_tap(offset, i, PHASE, KW, SW, DW) >= 0:
            k = tl.broadcast_to(over_channels(columns[place(i, PIXELS)], LAST), grad.shape)
            acc = put(acc, i, tl.fma(k, grad, acc[i]))
    return acc


@triton.jit(do_not_specialize=SIZES)
def gather(
    grad_x,
    grad,
    kernel,
    B,
    G,
    rows,
    columns,
    Ho,
    Wo,
    band,
    top,
    left,
    u0,
    grad_x_strides,
    grad_strides,
    skb,
    skg,
    sku,
    skv,
    skh,
    skw,
    PHASE: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    DU: tl.constexpr,
    D: tl.constexpr,
    TQ: tl.constexpr,
    TG: tl.constexpr,
    TD: tl.constexpr,
    LAST: tl.constexpr,
    ACC: tl.constexpr,
    INDEX: tl.constexpr,
):
    """The gradient of x, of one remainder of rows and columns modulo the stride, from stored kernels.

    Args:
        rows, columns: how many there are of this remainder; `grad_x` begins at the first.
        top, left: φ + p along each axis, `left` divided by the stride.
        u0, DU: the first tap row that leads to rows of this remainder, and the step to the next.
    """
    tile, g0, d0 = block(G, D, TG, TD)
    image, row, column, exists = quads(tile, tl.arange(0, TQ), B, rows, columns, band, TQ, INDEX)
    g = (g0 + tl.arange(0, TG)).to(INDEX)
    d = (d0 + tl.arange(0, TD)).to(INDEX)
    lanes = by_quad(exists, LAST) & by_group(g < G) & by_channel(d < D, LAST)
    channel = by_group(g * D) + by_channel(d, LAST)

    first = column + left + nearest(PHASE, KW, SW, DW)
    offsets = by_quad(at(image, row, first, grad_strides), LAST) + channel * grad_strides[1]
    k = pair_quad(at(image, row, first, (skb, skg, skh, skw)), LAST) + pair_group(g * skg, LAST)
    i = tl.arange(0, 4)

    acc = (tl.full(lanes.shape, 0, ACC),) * 4
    for u in range(u0, KH, DU):
        up = (top - u * DH) // SH  # exact: what u0 and DU are for
        far = tl.cast(up, tl.int64)
        within = exists & (row + up >= 0) & (row + up < Ho)
        for offset in tl.static_range(back_reach(PHASE, KW, SW, DW)):
            if heard(offset, PHASE, KW, SW, DW):
                inside = within & (first + offset >= 0) & (first + offset < Wo)
                across = tl.cast(offset, tl.int64)
                # The taps that lead from this column to the four pixels.
                v = (PHASE - SW * (offset + nearest(PHASE, KW, SW, DW)) + SW * i) // DW
                v_exists = (v * DW == PHASE - SW * (offset + nearest(PHASE, KW, SW, DW)) + SW * i) & (v >= 0) & (v < KW)
                held = (pair_quad(inside, LAST) & pair_group(g < G, LAST))[:, :, None] & v_exists
                taps = kernel + tl.cast(u, tl.int64) * sku + far * skh + across * skw
                taps = tl.load(taps + (k[:, :, None] + v.to(INDEX) * skv), mask=held, other=0)
                seen = grad + far * grad_strides[2] + across * grad_strides[3]
                seen = widen(tl.load(seen + offsets, mask=lanes & by_quad(inside, LAST), other=0), ACC, LAST)
                acc = hear(acc, unbind(taps, 4, ACC, LAST), seen, offset, PHASE, KW, SW, DW, 4, LAST)

    offsets = by_quad(at(image, row, column, grad_x_strides), LAST) + channel * grad_x_strides[1]
    store_quads(grad_x + offsets, grad_x_strides[3], acc, column, columns, lanes, LAST)


def remainders(
    grad_x: Tensor, window: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Iterator[tuple[Tensor, list[int], dict[str, int]]]:
    """Split a gradient into the rows and columns that hear through the same taps: one launch each.

    Yields:
        the part of `grad_x`; `top`, `left` and `u0` of `gather`; its constants PHASE and DU.
    """
    (KH, _), (SH, SW), (DH, _) = window, stride, dilation
    step = SH // math.gcd(SH, DH)
    for down in range(min(SH, grad_x.shape[2])):
        top = down + padding[0]
        u0 = next((u for u in range(min(step, KH)) if (top - u * DH) % SH == 0), KH)
        for right in range(min(SW, grad_x.shape[3])):
            left, phase = divmod(right + padding[1], SW)
            yield grad_x[:, :, down::SH, right::SW], [top, left, u0], {"PHASE": phase, "DU": step}


def involution2d_grad_x(
    grad: Tensor, kernel: Tensor, size: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Tensor:
    """∂T/∂x; see `involution.ops.reference`."""
    grad_x = empty_grad_x(grad, kernel, size, stride, padding, dilation)
    if grad_x.numel() == 0:
        return grad_x
    batch, groups, *window, out_rows, out_columns = kernel.shape
    depth = grad.shape[1] // groups
    tile = launch.tile(groups, depth, grad.itemsize, grad.stride(1) == 1)
    with launch.on_device(grad):
        for part, place, constants in remainders(grad_x, window, stride, padding, dilation):
            rows, columns = part.shape[2:]
            grid = launch.programs(batch, rows, columns, tile.TQ) * launch.blocks(groups, depth, tile)
            gather[(grid,)](
                part,
                grad,
                kernel,
                batch,
                groups,
                rows,
                columns,
                out_rows,
                out_columns,
                launch.band(rows),
                *place,
                part.stride(),
                grad.stride(),
                *kernel.stride(),
                **constants,
                **launch.constants(window, stride, dilation, tile, grad),
                D=depth,
                ACC=sum_dtype(grad),
                INDEX=launch.index_dtype(grad_x, grad, kernel),
            )
    return grad_x
