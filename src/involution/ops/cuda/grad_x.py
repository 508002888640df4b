"""∂T/∂x: every pixel gathers the output gradients of the windows that contain it, each weighted by the kernel there.

Kernels are stored, or computed where they are used, as in `forward`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from involution.ops.cuda import launch
from involution.ops.cuda.launch import SIZES, Ints, Plan, Tile, array
from involution.ops.cuda.precision import widen
from involution.ops.cuda.source import Span, column_of_taps, columns_of_taps, stored
from involution.ops.cuda.taps import back_reach, back_reads, back_tap, nearest, place, put
from involution.ops.cuda.tile import (
    Array,
    Sizes,
    block,
    by_quad,
    cells,
    lanes_of,
    offsets_of,
    over_channels,
    store_quads,
)
from involution.ops.layout import empty_grad_x


@triton.jit
def gather(acc, taps, grad, offset: tl.constexpr, plan: tl.constexpr):
    """Add the gradients at one output, through the taps that lead from it to the four pixels of the quad."""
    for i in tl.static_range(4):
        if back_tap(offset, i, plan) >= 0:
            k = tl.broadcast_to(over_channels(taps[place(i, plan.KP)], plan), grad.shape)
            acc = put(acc, i, tl.fma(k, grad, acc[i]))
    return acc


@triton.jit(do_not_specialize=SIZES)
def grad_x(
    grad_x, grad, source, skb, skg, sku, skh, B, G, R, rows, columns, Ho, Wo, strip, top, left, u0, plan: tl.constexpr
):  # fmt: skip
    """The gradient of x, of one remainder of rows and columns modulo the stride.

    Args:
        rows, columns: their number for this remainder; `grad_x` begins at the first.
        top, left: φ + p along each axis, `left` divided by the stride.
        u0: the first tap row that leads to rows of this remainder; DU is the step to the next.
    """
    tile, g0, d0 = block(G, plan)
    sizes = Sizes(B, G, rows, columns, strip)
    here = cells(tile, g0, d0, sizes, plan)
    lanes = lanes_of(here, here.exists, sizes, plan)
    if plan.TR == 0:
        source = stored(source, skb, skg, sku, skh)
    first = here.column + left + nearest(plan)
    taps = columns_of_taps(source, here, first, g0, sizes, plan)
    offsets = offsets_of(here, here.row, first, grad.strides, plan)

    acc = (tl.full(lanes.shape, 0, plan.ACC),) * 4
    for u in range(u0, plan.KH, plan.DU):
        up = (top - u * plan.DH) // plan.SH  # exact, by the choice of u0 and DU
        within = here.exists & (here.row + up >= 0) & (here.row + up < Ho)
        row = grad.data + tl.cast(up, tl.int64) * grad.strides[2]
        for offset in tl.static_range(back_reach(plan)):
            if back_reads(offset, plan):
                inside = within & (first + offset >= 0) & (first + offset < Wo)
                column = column_of_taps(source, taps, u, up, offset, inside, R, plan)
                address = row + tl.cast(offset, tl.int64) * grad.strides[3] + offsets
                output = widen(tl.load(address, mask=lanes & by_quad(inside, plan), other=0), plan)
                acc = gather(acc, column, output, offset, plan)

    offsets = offsets_of(here, here.row, here.column, grad_x.strides, plan)
    store_quads(grad_x.data + offsets, grad_x.strides[3], acc, here.column, columns, lanes, plan)


def remainders(
    grad_x: Tensor, window: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Iterator[tuple[Tensor, list[int], dict[str, Any]]]:
    """Split a gradient into the rows and columns that are read through the same taps: one launch each.

    Yields:
        the part of `grad_x`; `top`, `left` and `u0` of the program; its constants PHASE and DU.
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
    total = empty_grad_x(grad, kernel, size, stride, padding, dilation)
    groups, window = kernel.shape[1], kernel.shape[2:4]
    depth = grad.shape[1] // groups
    tile = launch.tile(groups, depth, 32, grad.itemsize, grad.stride(1) == 1)
    skb, skg, sku, skv, skh, skw = kernel.stride()
    source = Array(kernel, (skv, skw)), skb, skg, sku, skh
    run(total, grad, source, groups, tile, window, stride, padding, dilation, kernel, KP=4)
    return total


def fill_grad_x(
    total: Tensor,
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
    """Write the gradient of x through the spanned involution."""
    bias = None if bias is None else bias.contiguous()
    tile = launch.wide_tile(groups, grad.shape[1] // groups, grad.itemsize, grad.stride(1) == 1)
    source = Span(array(reduced), array(weight), bias), 0, 0, 0, 0
    span = launch.span(reduced, bias, tile, 4)
    run(total, grad, source, groups, tile, window, stride, padding, dilation, reduced, weight, **span)


def run(
    total: Tensor,
    grad: Tensor,
    source: tuple[Any, ...],
    groups: int,
    tile: Tile,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    *read: Tensor,
    **span: Any,
) -> None:
    """Launch `grad_x`; `read` are the tensors of `source`, `span` the entries of the plan about them."""
    if total.numel() == 0:
        return
    batch, channels, out_rows, out_columns = grad.shape
    depth, features = channels // groups, read[0].shape[1] if span.get("TR") else 0
    constants = {
        **launch.geometry(window, stride, dilation),
        **launch.shape(tile, depth, grad),
        "INDEX": launch.index_dtype(padding, window, dilation, total, grad, *read),
        **span,
    }
    with launch.on_device(grad):
        for part, place, phase in remainders(total, window, stride, padding, dilation):
            rows, columns = part.shape[2:]
            grid = (launch.programs(batch, rows, columns, tile.TQ) * launch.blocks(groups, depth, tile),)
            sizes = batch, groups, features, rows, columns, out_rows, out_columns, launch.strip(rows), *place
            arguments = array(part), array(grad), *source, *sizes
            launch.launch(grad_x, grid, arguments, Plan(**constants, **phase), tile)
