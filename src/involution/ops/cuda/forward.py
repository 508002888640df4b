"""∂T/∂g: every window of x, summed with the kernel of its output pixel; kernels are stored or computed on use.

In the spanned form, kernels of a few pixels at a time are computed on the tensor cores and used immediately.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from involution.ops import spanned
from involution.ops.cuda import band, launch
from involution.ops.cuda.launch import SIZES, Ints, Plan, Tile, array
from involution.ops.cuda.precision import widen
from involution.ops.cuda.source import Span, row_of_taps, rows_of_taps, stored
from involution.ops.cuda.taps import place, put, reach, reads, tap
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
from involution.ops.layout import empty_spanned, empty_y


@triton.jit
def slide(acc, taps, x, offsets, lanes, column, columns, plan: tl.constexpr):
    """Add one row of the window: read every pixel once, multiply it into all windows of the quad that contain it.

    Args:
        acc: four sums, one per pixel of the quad.
        taps: the kernels of the row, `unbind` of [., ., 4·KP].
        x, offsets: the row of x, and the offset of the first column that the quad reads.
        lanes: which channels there are, and which rows lie in the image.
        column: the first column that the quad reads, [quad].
        columns: of the image.
    """
    for offset in tl.static_range(reach(plan)):
        if reads(offset, plan):
            inside = by_quad((column + offset >= 0) & (column + offset < columns), plan)
            address = x.data + tl.cast(offset, tl.int64) * x.strides[3] + offsets
            pixel = widen(tl.load(address, mask=lanes & inside, other=0), plan)
            for i in tl.static_range(4):
                if tap(offset, i, plan) >= 0:
                    k = over_channels(taps[place(i * plan.KP + tap(offset, i, plan), 4 * plan.KP)], plan)
                    acc = put(acc, i, tl.fma(tl.broadcast_to(k, pixel.shape), pixel, acc[i]))
    return acc


@triton.jit(do_not_specialize=SIZES)
def forward(
    y, x, source, skb, skg, sku, skh, B, G, R, H, W, Ho, Wo, strip, PH, PW, plan: tl.constexpr
):  # fmt: skip
    """Compute y from kernels that are stored or computed."""
    tile, g0, d0 = block(G, plan)
    sizes = Sizes(B, G, Ho, Wo, strip)
    here = cells(tile, g0, d0, sizes, plan)
    lanes = lanes_of(here, here.exists, sizes, plan)
    if plan.TR == 0:
        source = stored(source, skb, skg, sku, skh)
    taps = rows_of_taps(source, tile, here, g0, sizes, R, plan)

    top, left = here.row * plan.SH - PH, here.column * plan.SW - PW
    offsets = offsets_of(here, top, left, x.strides, plan)
    acc = (tl.full(lanes.shape, 0, plan.ACC),) * 4
    for u in range(plan.KH):
        row = row_of_taps(source, taps, u, R, plan)
        down = top + u * plan.DH
        rows = lanes & by_quad((down >= 0) & (down < H), plan)
        row_of_x = Array(x.data + tl.cast(u * plan.DH, tl.int64) * x.strides[2], x.strides)
        acc = slide(acc, row, row_of_x, offsets, rows, left, W, plan)

    offsets = offsets_of(here, here.row, here.column, y.strides, plan)
    store_quads(y.data + offsets, y.strides[3], acc, here.column, Wo, lanes, plan)


def involution2d(x: Tensor, kernel: Tensor, stride: Ints, padding: Ints, dilation: Ints) -> Tensor:
    """y = ∂T/∂g; see `involution.involution2d`."""
    y = empty_y(x, kernel, stride, padding, dilation)
    groups, window = kernel.shape[1], kernel.shape[2:4]
    skb, skg, sku, skv, skh, skw = kernel.stride()
    tile, KP = choose(x, groups, window)
    source = Array(kernel, (skv, skw)), skb, skg, sku, skh
    run(y, x, source, groups, tile, window, stride, padding, dilation, kernel, KP=KP)
    return y


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
    """`involution2d` with kernels that are computed and used in registers; see `involution.ops.spanned`."""
    arguments = (x, reduced, weight, bias, groups, window, stride, padding, dilation)
    if band.serves(*arguments):
        return band.involution2d_spanned(*arguments)
    if launch.two_steps(x):
        return spanned.involution2d_spanned(*arguments)
    y = empty_spanned(x, reduced)
    bias = None if bias is None else bias.contiguous()
    tile, KP = choose(x, groups, window)
    source = Span(array(reduced), array(weight), bias), 0, 0, 0, 0
    span = launch.span(reduced, bias, tile, KP)
    run(y, x, source, groups, tile, window, stride, padding, dilation, reduced, weight, **span)
    return y


def choose(x: Tensor, groups: int, window: Ints) -> tuple[Tile, int]:
    """Return the tile, and the taps of a row of the window, padded."""
    KP = launch.power(window[1])
    return launch.tile(groups, x.shape[1] // groups, 4 * KP, x.itemsize, x.stride(1) == 1), KP


def run(
    y: Tensor,
    x: Tensor,
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
    """Launch `forward`; `read` are the tensors of `source`, `span` the entries of the plan about them."""
    if y.numel() == 0:
        return
    batch, channels, rows, columns = y.shape
    depth = channels // groups
    plan = Plan(
        **launch.geometry(window, stride, dilation),
        **launch.shape(tile, depth, x),
        INDEX=launch.index_dtype(padding, window, dilation, x, y, *read),
        **span,
    )
    grid = (launch.programs(batch, rows, columns, tile.TQ) * launch.blocks(groups, depth, tile),)
    features = read[0].shape[1] if plan.TR else 0
    sizes = batch, groups, features, *x.shape[2:], rows, columns, launch.strip(rows), *padding
    with launch.on_device(x):
        launch.launch(forward, grid, (array(y), array(x), *source, *sizes), plan, tile)
