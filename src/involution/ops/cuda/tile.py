"""The pixels and channels of a program.

A program holds TQ quads, each four neighbouring pixels of one row, times TG groups, times TD channels of a group. With
a quad, a thread reads a pixel of `x` once and uses it for four windows.

Its tensors are in registers as [quad, group, channel] if the channels are densest in memory (LAST) and as
[channel, group, quad] if the pixels are, so that neighbouring threads read neighbouring addresses in both layouts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

QUAD = tl.constexpr(4)


class Array(NamedTuple):
    """A tensor in memory."""

    data: Any  # its first element
    strides: Any


class Sizes(NamedTuple):
    """Sizes of images: B of `rows` x `columns` pixels that quads are counted in, of G groups; rows to a strip."""

    B: Any
    G: Any
    rows: Any
    columns: Any
    strip: Any


class Cells(NamedTuple):
    """The work of a program: quads [quad], groups [group] and channels of a group [channel]."""

    image: Any
    row: Any
    column: Any  # of the first pixel
    exists: Any
    g: Any
    d: Any


@triton.jit
def block(G, plan: tl.constexpr):
    """Return which tile of pixels this program has, its first group and its first channel of the group.

    All blocks of channels of one tile run side by side: they share data that depends on the pixel alone.
    """
    chunks: tl.constexpr = (plan.D + plan.TD - 1) // plan.TD
    blocks = (G + plan.TG - 1) // plan.TG * chunks
    tile = tl.program_id(0) // blocks
    rest = tl.program_id(0) % blocks
    return tile, rest // chunks * plan.TG, rest % chunks * plan.TD


@triton.jit
def quads(tile, index, sizes, plan: tl.constexpr):
    """Return image, row and first column of the quads `index` of a tile of TQ, and whether they exist.

    Quads are counted down the rows of a strip, then along it, strip after strip, image after image: a tile is about as
    high as it is wide, so that its windows overlap.
    """
    strip = sizes.strip
    wide = (sizes.columns + QUAD - 1) // QUAD
    per_image = (sizes.rows + strip - 1) // strip * strip * wide
    first = tl.cast(tile, plan.INDEX) * plan.TQ
    image = first // per_image
    n = (first - image * per_image).to(tl.int32) + index
    image += n // per_image
    n = n % per_image
    row = n // (strip * wide) * strip + n % strip
    column = n % (strip * wide) // strip * QUAD
    return image, row.to(plan.INDEX), column.to(plan.INDEX), (image < sizes.B) & (row < sizes.rows)


@triton.jit
def cells(tile, g0, d0, sizes, plan: tl.constexpr):
    """Return the cells of a tile, from group g0 and channel d0 on."""
    image, row, column, exists = quads(tile, tl.arange(0, plan.TQ), sizes, plan)
    g = (g0 + tl.arange(0, plan.TG)).to(plan.INDEX)
    d = (d0 + tl.arange(0, plan.TD)).to(plan.INDEX)
    return Cells(image, row, column, exists, g, d)


@triton.jit
def at(image, row, column, strides):
    """Return the offset of a pixel in memory; strides of [B, ., H, W]."""
    return image * strides[0] + row * strides[2] + column * strides[3]


@triton.jit
def by_quad(v, plan: tl.constexpr):
    """[quad] → what broadcasts over groups and channels."""
    return v[:, None, None] if plan.LAST else v[None, None, :]


@triton.jit
def by_group(v):
    """[group] → what broadcasts over quads and channels."""
    return v[None, :, None]


@triton.jit
def by_channel(v, plan: tl.constexpr):
    """[channel] → what broadcasts over quads and groups."""
    return v[None, None, :] if plan.LAST else v[:, None, None]


@triton.jit
def pair_quad(v, plan: tl.constexpr):
    """[quad] → what broadcasts over groups, in tensors without channels."""
    return v[:, None] if plan.LAST else v[None, :]


@triton.jit
def pair_group(v, plan: tl.constexpr):
    """[group] → what broadcasts over quads, in tensors without channels."""
    return v[None, :] if plan.LAST else v[:, None]


@triton.jit
def over_channels(k, plan: tl.constexpr):
    """[quad, group] or [group, quad] → what broadcasts over channels."""
    return k[:, :, None] if plan.LAST else k[None, :, :]


@triton.jit
def lanes_of(here, exists, sizes, plan: tl.constexpr):
    """Return the mask of existing channels of existing quads."""
    return by_quad(exists, plan) & by_group(here.g < sizes.G) & by_channel(here.d < plan.D, plan)


@triton.jit
def offsets_of(here, row, column, strides, plan: tl.constexpr):
    """Return the positions in memory of the channels of one pixel a quad."""
    channel = by_group(here.g * plan.D) + by_channel(here.d, plan)
    return by_quad(at(here.image, row, column, strides), plan) + channel * strides[1]


@triton.jit
def load_quads(address, step, column, columns, lanes, plan: tl.constexpr):
    """Load the four pixels of every quad; zeros for those that do not exist."""
    step = tl.cast(step, plan.INDEX)
    if plan.LAST:
        held = by_quad(column, plan)
        first = tl.load(address, mask=lanes & (held < columns), other=0)
        second = tl.load(address + step, mask=lanes & (held + 1 < columns), other=0)
        third = tl.load(address + 2 * step, mask=lanes & (held + 2 < columns), other=0)
        fourth = tl.load(address + 3 * step, mask=lanes & (held + 3 < columns), other=0)
    else:
        i = tl.arange(0, 4)[None, None, None, :]
        held = lanes[:, :, :, None] & (by_quad(column, plan)[:, :, :, None] + i < columns)
        pairs = tl.load(address[:, :, :, None] + i * step, mask=held, other=0)
        even, odd = tl.split(tl.reshape(pairs, (pairs.shape[0], pairs.shape[1], pairs.shape[2], 2, 2)))
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def store_quads(address, step, values, column, columns, lanes, plan: tl.constexpr):
    """Store the four pixels of every quad, those that exist."""
    step = tl.cast(step, plan.INDEX)
    if plan.LAST:
        for i in tl.static_range(4):
            tl.store(
                address + i * step,
                values[i].to(address.dtype.element_ty),
                mask=lanes & (by_quad(column, plan) + i < columns),
            )
    else:
        four = tl.join(tl.join(values[0], values[2]), tl.join(values[1], values[3]))
        four = tl.reshape(four, (four.shape[0], four.shape[1], four.shape[2], 4))
        i = tl.arange(0, 4)[None, None, None, :]
        tl.store(
            address[:, :, :, None] + i * step,
            four.to(address.dtype.element_ty),
            mask=lanes[:, :, :, None] & (by_quad(column, plan)[:, :, :, None] + i < columns),
        )
