"""The gradients of reduced features, weight and bias: the kernels' gradient, made in registers and used at once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from involution.ops.cuda import launch
from involution.ops.cuda.grad_kernel import grads_of_quads, row_of_kernel
from involution.ops.cuda.launch import SIZES, Ints
from involution.ops.cuda.precision import product, product_mode
from involution.ops.cuda.spanned import features_of, pixels_of_quads
from involution.ops.cuda.tile import at, by_channel, by_group, by_quad, quads


@triton.jit(do_not_specialize=SIZES)
def contract(
    grad_reduced,
    grad_weight,
    grad_bias,
    grad,
    x,
    reduced,
    weight,
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
    tiles,
    splits,
    grad_reduced_strides,
    grad_strides,
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
    VECTOR: tl.constexpr,
    REDUCED: tl.constexpr,
    WEIGHT: tl.constexpr,
    LAST: tl.constexpr,
    INDEX: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient of the kernels, contracted with the weight (REDUCED) or with the reduced features (WEIGHT) or both.

    A program has the pixel tiles split, split + splits, ... and, unless REDUCED, one block of groups. What it adds up
    over its tiles for the weight it keeps in memory of its own: `grad_weight` [splits, G·Kh·Kw, R] and `grad_bias`
    [splits, G·Kh·Kw] in float32, so that the order of the sums is fixed.
    """
    split = tl.program_id(0) % splits
    part = tl.program_id(0) // splits
    r0 = tl.program_id(1) * TR
    r = r0 + tl.arange(0, TR)
    t = tl.arange(0, TG * KP)
    d = tl.arange(0, TD)
    pages = G * KH * KW  # taps of all groups
    for tile in range(split, tiles, splits):
        image, row, column, exists = quads(tile, tl.arange(0, TQ), B, Ho, Wo, band, TQ, INDEX)
        top, left = row * SH - PH, column * SW - PW
        pixels, exist = pixels_of_quads(tile, B, Ho, Wo, band, reduced_strides, TQ, INDEX)
        features = features_of(reduced, pixels, exist, r0, R, reduced_strides[1], TR)
        sums = tl.full((4 * TQ, TR), 0, tl.float32)
        for g0 in range(0 if REDUCED else part * TG, G if REDUCED else part * TG + 1, TG):
            g = (g0 + tl.arange(0, TG)).to(INDEX)
            x_offsets = by_quad(at(image, top, left, x_strides), LAST) + by_group(g * D * x_strides[1])
            grad_offsets = by_quad(at(image, row, column, grad_strides), LAST) + by_group(g * D * grad_strides[1])
            grads = grads_of_quads(
                grad,
                grad_offsets + by_channel(d, LAST) * grad_strides[1],
                grad_strides,
                column,
                Wo,
                by_quad(exists, LAST) & by_group(g < G) & by_channel(d < D, LAST),
                VECTOR,
                tl.float32,
                LAST,
            )
            for u in range(KH):
                kernel = row_of_kernel(
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
                    tl.float32,
                )
                if LAST:
                    kernel = tl.permute(tl.reshape(kernel, (TQ, TG, 4, KP)), (0, 2, 1, 3))
                else:
                    kernel = tl.permute(tl.reshape(kernel, (TG, TQ, 4, KP)), (1, 2, 0, 3))
                kernel = tl.reshape(kernel, (4 * TQ, TG * KP))
                rounded = kernel.to(reduced.dtype.element_ty)
                taps = (g0 + t // KP) * (KH * KW) + u * KW + t % KP
                exist_taps = (g0 + t // KP < G) & (t % KP < KW)
                weights = exist_taps[:, None] & (r < R)[None, :]
                if REDUCED:
                    w = weight + taps[:, None] * weight_strides[0] + r[None, :] * weight_strides[1]
                    sums = product(rounded, tl.load(w, mask=weights, other=0), sums, PRECISION)
                if WEIGHT:
                    page = tl.cast(split, tl.int64) * pages
                    total = grad_weight + page * R + (taps[:, None] * R + r[None, :])
                    before = tl.load(total, mask=weights, other=0)
                    tl.store(total, product(tl.trans(rounded), features, before, PRECISION), mask=weights)
                    if tl.program_id(1) == 0:
                        of_bias = grad_bias + page + taps
                        before_of_bias = tl.load(of_bias, mask=exist_taps, other=0)
                        tl.store(of_bias, before_of_bias + tl.sum(kernel, axis=0), mask=exist_taps)
        if REDUCED:
            pixels, exist = pixels_of_quads(tile, B, Ho, Wo, band, grad_reduced_strides, TQ, INDEX)
            address = grad_reduced + pixels[:, None] + r[None, :] * grad_reduced_strides[1]
            tl.store(address, sums.to(grad_reduced.dtype.element_ty), mask=exist[:, None] & (r < R)[None, :])
        if WEIGHT:
            tl.debug_barrier()  # the next tile reads what this one has added, perhaps in other threads


PROGRAMS = 264
"""How many programs add up the gradient of the weight: two for each of the 132 multiprocessors of an H100."""

WORKSPACE = 2**24
"""Bytes that all of them may take in memory when each adds up the whole gradient."""


def fill_grad_span(
    grad_reduced: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad: Tensor,
    x: Tensor,
    reduced: Tensor,
    weight: Tensor,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> None:
    """Write the gradients of reduced features, weight and bias; those without elements are not wanted.

    The gradient of the kernels, which is most of the work, is made once if the sums that every program keeps for the
    weight are small, as they are in the early stages, where it costs the most; else once for the features, by
    programs that go through all groups, and once for the weight, by programs that keep to one block of groups.
    """
    batch, channels, rows, columns = grad.shape
    depth, features = channels // groups, reduced.shape[1]
    tile = launch.tile(groups, depth, x.itemsize, x.stride(1) == 1)
    at_once = launch.features(features)
    tiles = launch.programs(batch, rows, columns, tile.TQ)
    splits = min(tiles, PROGRAMS)
    blocks = 1
    for_reduced, for_weight = grad_reduced.numel() > 0, grad_weight.numel() + grad_bias.numel() > 0
    once = not for_weight or splits * weight.numel() * 4 <= WORKSPACE
    if not once:
        blocks = -(-groups // tile.TG)
        splits = min(tiles, -(-PROGRAMS // blocks))
    rows_of_sums = weight.shape[0] if for_weight else 0
    weight_sums = torch.zeros(splits, rows_of_sums, weight.shape[1], dtype=torch.float32, device=x.device)
    bias_sums = torch.zeros(splits, rows_of_sums, dtype=torch.float32, device=x.device)

    def launch_for(reduced_too: bool, weight_too: bool, splits: int, blocks: int) -> None:
        contract[(splits * blocks, -(-features // at_once))](
            grad_reduced,
            weight_sums,
            bias_sums,
            grad,
            x,
            reduced,
            weight,
            batch,
            groups,
            features,
            *x.shape[2:],
            rows,
            columns,
            launch.band(rows),
            *padding,
            tiles,
            splits,
            grad_reduced.stride() if reduced_too else reduced.stride(),
            grad.stride(),
            x.stride(),
            reduced.stride(),
            weight.stride(),
            **launch.constants(window, stride, dilation, tile, x),
            D=depth,
            TR=at_once,
            KP=launch.taps(window[1], tile),
            VECTOR=launch.vector(x, tile),
            REDUCED=reduced_too,
            WEIGHT=weight_too,
            INDEX=launch.index_dtype(grad, x, reduced, grad_reduced),
            PRECISION=product_mode(),
        )

    if once:
        launch_for(for_reduced, for_weight, splits if for_weight else tiles, 1)
    else:
        if for_reduced:
            launch_for(True, False, tiles, 1)
        launch_for(False, True, splits, blocks)
    if grad_weight.numel():
        grad_weight.copy_(weight_sums.sum(0))
    if grad_bias.numel():
        grad_bias.copy_(bias_sums.sum(0))
