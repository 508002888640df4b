"""∂T/∂k: every output gradient times the pixels of its window, summed over the channels of the group."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from involution.ops.cuda import launch
from involution.ops.cuda.launch import SIZES, Ints, Plan, array
from involution.ops.cuda.precision import widen
from involution.ops.cuda.source import quads_of_taps, stored
from involution.ops.cuda.taps import add, bind, place, put, reach, reads, tap, unbind
from involution.ops.cuda.tile import (
    Array,
    Sizes,
    at,
    by_channel,
    by_group,
    by_quad,
    cells,
    load_quads,
)
from involution.ops.layout import empty_grad_kernel


@triton.jit
def channel_parts(t, plan: tl.constexpr):
    """[quad, group, channel] or [channel, group, quad] → VECTOR tensors, [quad·group, .]: a thread's own channels."""
    t = widen(t, plan)
    if not plan.LAST:
        t = tl.permute(t, (1, 2, 0))
    t = tl.reshape(t, (t.shape[0] * t.shape[1], t.shape[2] // plan.VECTOR, plan.VECTOR))
    return unbind(t, plan.VECTOR, plan)


@triton.jit
def dot_channels(a, b, VECTOR: tl.constexpr):
    """Return Σ a·b over the channels, [quad·group], with fused multiply-adds within a thread."""
    total = a[0] * b[0]
    for c in tl.static_range(1, VECTOR):
        total = tl.fma(a[c], b[c], total)
    return tl.sum(total, axis=1)


@triton.jit
def correlate(sums, grads, x, offsets, lanes, column, columns, ALONE: tl.constexpr, plan: tl.constexpr):
    """Add one row of the window: read every pixel once, multiply it with the gradients of all windows that contain it.

    Args:
        sums: one per tap and pixel of the quad, as `unbind` orders them.
        grads: the gradients at the four pixels, `channel_parts` of each.
        x, offsets, lanes, column, columns: as in `forward.slide`.
        ALONE: whether these are all channels of the group.
    """
    for offset in tl.static_range(reach(plan)):
        if reads(offset, plan):
            inside = by_quad((column + offset >= 0) & (column + offset < columns), plan)
            address = x.data + tl.cast(offset, tl.int64) * x.strides[3] + offsets
            parts = channel_parts(tl.load(address, mask=lanes & inside, other=0), plan)
            for i in tl.static_range(4):
                if tap(offset, i, plan) >= 0:
                    more = tl.reshape(dot_channels(grads[i], parts, plan.VECTOR), sums[0].shape)
                    if ALONE:
                        sums = put(sums, place(i * plan.KP + tap(offset, i, plan), 4 * plan.KP), more)
                    else:
                        sums = add(sums, place(i * plan.KP + tap(offset, i, plan), 4 * plan.KP), more)
    return sums


@triton.jit
def grads_of_quads(grad, here, d, sizes, plan: tl.constexpr):
    """Load channels d of the gradients at the four pixels of every quad, `channel_parts` of each."""
    offsets = by_quad(at(here.image, here.row, here.column, grad.strides), plan)
    offsets += by_group(here.g * plan.D * grad.strides[1]) + by_channel(d, plan) * grad.strides[1]
    lanes = by_quad(here.exists, plan) & by_group(here.g < sizes.G) & by_channel(d < plan.D, plan)
    first, second, third, fourth = load_quads(
        grad.data + offsets, grad.strides[3], here.column, sizes.columns, lanes, plan
    )
    return (
        channel_parts(first, plan),
        channel_parts(second, plan),
        channel_parts(third, plan),
        channel_parts(fourth, plan),
    )


@triton.jit
def row_of_kernel(u, grads, grad, x, here, sizes, H, W, PH, PW, plan: tl.constexpr):
    """Return row u of the kernels' gradient, [., ., 4·KP].

    Args:
        grads: the gradients at the four pixels, if the channels of a group fit into the tile.
        grad, x: all of them.
    """
    top, left = here.row * plan.SH - PH, here.column * plan.SW - PW
    corner = by_quad(at(here.image, top, left, x.strides), plan) + by_group(here.g * plan.D * x.strides[1])
    down = top + u * plan.DH
    inside = by_quad(here.exists & (down >= 0) & (down < H), plan) & by_group(here.g < sizes.G)
    row = Array(x.data + tl.cast(u * plan.DH, tl.int64) * x.strides[2], x.strides)
    sums = (tl.full((plan.TQ, plan.TG) if plan.LAST else (plan.TG, plan.TQ), 0, plan.ACC),) * (4 * plan.KP)
    if plan.D <= plan.TD:
        lanes = inside & by_channel(here.d < plan.D, plan)
        offsets = corner + by_channel(here.d, plan) * x.strides[1]
        sums = correlate(sums, grads, row, offsets, lanes, left, W, True, plan)
    else:
        for d0 in range(0, plan.D, plan.TD):
            d = d0 + here.d
            lanes = inside & by_channel(d < plan.D, plan)
            offsets = corner + by_channel(d, plan) * x.strides[1]
            part = grads_of_quads(grad, here, d, sizes, plan)
            sums = correlate(sums, part, row, offsets, lanes, left, W, False, plan)
    return bind(sums, 4 * plan.KP)


@triton.jit(do_not_specialize=SIZES)
def grad_kernel(
    grad_kernel, grad, x, skb, skg, sku, skh, B, G, H, W, Ho, Wo, strip, PH, PW, plan: tl.constexpr
):  # fmt: skip
    """The gradient of stored kernels."""
    blocks = (G + plan.TG - 1) // plan.TG
    sizes = Sizes(B, G, Ho, Wo, strip)
    here = cells(tl.program_id(0) // blocks, tl.program_id(0) % blocks * plan.TG, 0, sizes, plan)
    grads = grads_of_quads(grad, here, here.d, sizes, plan)
    total = stored(grad_kernel, skb, skg, sku, skh)
    k, exist = quads_of_taps(here, total.strides, sizes, plan)
    for u in range(plan.KH):
        taps = row_of_kernel(u, grads, grad, x, here, sizes, H, W, PH, PW, plan)
        taps = tl.reshape(taps, k.shape).to(total.data.dtype.element_ty)
        tl.store(total.data + tl.cast(u, tl.int64) * sku + k, taps, mask=exist)


def involution2d_grad_kernel(
    grad: Tensor, x: Tensor, groups: int, window: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Tensor:
    """∂T/∂k; see `involution.ops.reference`."""
    total = empty_grad_kernel(grad, x, groups, window, stride, padding, dilation)
    if total.numel() == 0:
        return total
    batch, channels, rows, columns = grad.shape
    depth = channels // groups
    KP = launch.power(window[1])
    tile = launch.deep_tile(groups, depth, 4 * KP, x.itemsize, x.stride(1) == 1)
    plan = Plan(
        **launch.geometry(window, stride, dilation),
        **launch.shape(tile, depth, x),
        KP=KP,
        VECTOR=launch.vector(x, tile),
        INDEX=launch.index_dtype(padding, window, dilation, x, grad, total),
    )
    grid = (launch.programs(batch, rows, columns, tile.TQ) * -(-groups // tile.TG),)
    skb, skg, sku, skv, skh, skw = total.stride()
    sizes = batch, groups, *x.shape[2:], rows, columns, launch.strip(rows), *padding
    arguments = Array(total, (skv, skw)), array(grad), array(x), skb, skg, sku, skh, *sizes
    with launch.on_device(grad):
        launch.launch(grad_kernel, grid, arguments, plan, tile)
    return total
