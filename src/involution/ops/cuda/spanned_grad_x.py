"""The gradient of x through the spanned involution: `grad_x` with kernels made where they are used."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from involution.ops.cuda import launch
from involution.ops.cuda.grad_x import hear, remainders
from involution.ops.cuda.launch import SIZES, Ints
from involution.ops.cuda.precision import product_mode, widen
from involution.ops.cuda.spanned import features_of, span_row
from involution.ops.cuda.taps import back_reach, heard, nearest, unbind
from involution.ops.cuda.tile import at, block, by_channel, by_group, by_quad, quads, store_quads


@triton.jit(do_not_specialize=SIZES)
def gather(
    grad_x,
    grad,
    reduced,
    weight,
    bias,
    B,
    G,
    R,
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
    reduced_strides,
    weight_strides,
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
    TR: tl.constexpr,
    PIXELS: tl.constexpr,
    CHUNKED: tl.constexpr,
    BIASED: tl.constexpr,
    LAST: tl.constexpr,
    INDEX: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient of x, of one remainder of rows and columns modulo the stride; arguments as in `grad_x.gather`."""
    tile, g0, d0 = block(G, D, TG, TD)
    image, row, column, exists = quads(tile, tl.arange(0, TQ), B, rows, columns, band, TQ, INDEX)
    g = (g0 + tl.arange(0, TG)).to(INDEX)
    d = (d0 + tl.arange(0, TD)).to(INDEX)
    lanes = by_quad(exists, LAST) & by_group(g < G) & by_channel(d < D, LAST)
    channel = by_group(g * D) + by_channel(d, LAST)

    first = column + left + nearest(PHASE, KW, SW, DW)
    offsets = by_quad(at(image, row, first, grad_strides), LAST) + channel * grad_strides[1]
    pixels = at(image, row, first, reduced_strides)
    # The columns of the product: the taps that lead from one column to the pixels of a quad, for every group.
    t = tl.arange(0, TG * PIXELS)
    group, i = g0 + t // PIXELS, t % PIXELS

    acc = (tl.full(lanes.shape, 0, tl.float32),) * 4
    for u in range(u0, KH, DU):
        up = (top - u * DH) // SH  # exact: what u0 and DU are for
        far = tl.cast(up, tl.int64)
        within = exists & (row + up >= 0) & (row + up < Ho)
        for offset in tl.static_range(back_reach(PHASE, KW, SW, DW)):
            if heard(offset, PHASE, KW, SW, DW):
                inside = within & (first + offset >= 0) & (first + offset < Wo)
                across = tl.cast(offset, tl.int64)
                there = reduced + far * reduced_strides[2] + across * reduced_strides[3]
                distance = PHASE - SW * (offset + nearest(PHASE, KW, SW, DW)) + SW * i
                v = distance // DW
                kernel = span_row(
                    there,
                    weight,
                    bias,
                    pixels,
                    inside,
                    group * (KH * KW) + u * KW + v,
                    (group < G) & (i < 4) & (v * DW == distance) & (v >= 0) & (v < KW),
                    features_of(there, pixels, inside, 0, R, reduced_strides[1], TR),
                    R,
                    reduced_strides[1],
                    weight_strides,
                    TR,
                    CHUNKED,
                    BIASED,
                    PRECISION,
                )
                kernel = tl.reshape(kernel, (TQ, TG, PIXELS))
                if not LAST:
                    kernel = tl.permute(kernel, (1, 0, 2))
                taps = unbind(kernel, PIXELS, tl.float32, LAST)
                seen = grad + far * grad_strides[2] + across * grad_strides[3] + offsets
                seen = widen(tl.load(seen, mask=lanes & by_quad(inside, LAST), other=0), tl.float32, LAST)
                acc = hear(acc, taps, seen, offset, PHASE, KW, SW, DW, PIXELS, LAST)

    offsets = by_quad(at(image, row, column, grad_x_strides), LAST) + channel * grad_x_strides[1]
    store_quads(grad_x + offsets, grad_x_strides[3], acc, column, columns, lanes, LAST)


def fill_grad_x(
    grad_x: Tensor,
    grad: Tensor,
    reduced: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> None:
    """Write the gradient of x."""
    batch, channels, out_rows, out_columns = grad.shape
    depth, features = channels // groups, reduced.shape[1]
    tile = launch.wide_tile(groups, depth, grad.itemsize, grad.stride(1) == 1)
    at_once = launch.features(features)
    for part, place, constants in remainders(grad_x, window, stride, padding, dilation):
        rows, columns = part.shape[2:]
        grid = launch.programs(batch, rows, columns, tile.TQ) * launch.blocks(groups, depth, tile)
        gather[(grid,)](
            part,
            grad,
            reduced,
            weight,
            bias,
            batch,
            groups,
            features,
            rows,
            columns,
            out_rows,
            out_columns,
            launch.band(rows),
            *place,
            part.stride(),
            grad.stride(),
            reduced.stride(),
            weight.stride(),
            **constants,
            **launch.constants(window, stride, dilation, tile, grad),
            D=depth,
            TR=at_once,
            PIXELS=max(4, -(-16 // tile.TG)),
            CHUNKED=features > at_once,
            BIASED=bias is not None,
            INDEX=launch.index_dtype(grad_x, grad, reduced),
            PRECISION=product_mode(),
        )
