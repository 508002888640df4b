"""The gradients of reduced features, weight and bias: the kernels' gradient, computed and used in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from involution.ops.cuda import PROGRAMS, launch
from involution.ops.cuda.grad_kernel import grads_of_quads, row_of_kernel
from involution.ops.cuda.launch import SIZES, Ints, Plan, array
from involution.ops.cuda.precision import product
from involution.ops.cuda.source import features_of, pixels_of_quads
from involution.ops.cuda.tile import Sizes, cells

WORKSPACE = 2**24
"""Largest memory of all of them together, in bytes, when each accumulates the whole gradient."""


@triton.jit(do_not_specialize=SIZES)
def grad_span(
    grad_reduced, grad_weight, grad_bias, grad, x, reduced, weight,
    tiles, splits, B, G, R, H, W, Ho, Wo, strip, PH, PW, plan: tl.constexpr
):  # fmt: skip
    """The gradient of the kernels, contracted with the weight (REDUCED) or with the reduced features (WEIGHT) or both.

    A program has the pixel tiles split, split + splits, ... and, unless REDUCED, one block of groups. Its sums
    over its tiles for the weight are in separate memory: `grad_weight` [splits, G·Kh·Kw, R] and `grad_bias`
    [splits, G·Kh·Kw] in float32, so that the order of the sums is fixed.
    """
    split = tl.program_id(0) % splits
    part = tl.program_id(0) // splits
    sizes = Sizes(B, G, Ho, Wo, strip)
    r0 = tl.program_id(1) * plan.TR
    r = (r0 + tl.arange(0, plan.TR)).to(plan.INDEX)
    t = tl.arange(0, plan.TG * plan.KP)
    page = tl.cast(split, tl.int64) * (G * plan.KH * plan.KW)
    for tile in range(split, tiles, splits):
        pixels, exist = pixels_of_quads(tile, sizes, reduced.strides, plan)
        features = features_of(reduced, pixels, exist, r0, R, plan)
        sums = tl.full((4 * plan.TQ, plan.TR), 0, tl.float32)
        for g0 in range(0 if plan.REDUCED else part * plan.TG, G if plan.REDUCED else part * plan.TG + 1, plan.TG):
            here = cells(tile, g0, 0, sizes, plan)
            grads = grads_of_quads(grad, here, here.d, sizes, plan)
            for u in range(plan.KH):
                kernel = row_of_kernel(u, grads, grad, x, here, sizes, H, W, PH, PW, plan)
                if plan.LAST:
                    kernel = tl.permute(tl.reshape(kernel, (plan.TQ, plan.TG, 4, plan.KP)), (0, 2, 1, 3))
                else:
                    kernel = tl.permute(tl.reshape(kernel, (plan.TG, plan.TQ, 4, plan.KP)), (1, 2, 0, 3))
                kernel = tl.reshape(kernel, (4 * plan.TQ, plan.TG * plan.KP))
                rounded = kernel.to(reduced.data.dtype.element_ty)
                g = g0 + t // plan.KP
                taps = (g * (plan.KH * plan.KW) + u * plan.KW + t % plan.KP).to(plan.INDEX)
                exist_taps = (g < G) & (t % plan.KP < plan.KW)
                weights = exist_taps[:, None] & (r < R)[None, :]
                if plan.REDUCED:
                    w = weight.data + taps[:, None] * weight.strides[0] + r[None, :] * weight.strides[1]
                    sums = product(rounded, tl.load(w, mask=weights, other=0), sums, plan)
                if plan.WEIGHT:
                    total = grad_weight + page * R + (taps[:, None] * R + r[None, :])
                    before = tl.load(total, mask=weights, other=0)
                    tl.store(total, product(tl.trans(rounded), features, before, plan), mask=weights)
                    if tl.program_id(1) == 0:
                        of_bias = grad_bias + page + taps
                        before_of_bias = tl.load(of_bias, mask=exist_taps, other=0)
                        tl.store(of_bias, before_of_bias + tl.sum(kernel, axis=0), mask=exist_taps)
        if plan.REDUCED:
            pixels, exist = pixels_of_quads(tile, sizes, grad_reduced.strides, plan)
            address = grad_reduced.data + pixels[:, None] + r[None, :] * grad_reduced.strides[1]
            tl.store(address, sums.to(grad_reduced.data.dtype.element_ty), mask=exist[:, None] & (r < R)[None, :])
        if plan.WEIGHT:
            tl.debug_barrier()  # the next tile reads what this one has added, possibly in other threads


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
    """Write the gradients of reduced features, weight and bias; those without elements are not requested.

    The gradient of the kernels, which is most of the work, is computed once if the sums that every program keeps for
    the weight are small, as they are in the early stages, where it costs the most; else once for the features, by
    programs that loop over all groups, and once for the weight, by programs that process one block of groups.
    """
    batch, channels, rows, columns = grad.shape
    depth, features = channels // groups, reduced.shape[1]
    KP = launch.power(window[1])
    tile = launch.deep_tile(groups, depth, 4 * KP, x.itemsize, x.stride(1) == 1)
    tiles = launch.programs(batch, rows, columns, tile.TQ)
    splits = min(tiles, PROGRAMS)
    blocks = 1
    for_reduced, for_weight = grad_reduced.numel() > 0, grad_weight.numel() + grad_bias.numel() > 0
    once = for_reduced and (not for_weight or splits * weight.numel() * 4 <= WORKSPACE)
    if not once:
        blocks = -(-groups // tile.TG)
        splits = min(tiles, -(-PROGRAMS // blocks))
    rows_of_sums = weight.shape[0] if for_weight else 0
    weight_sums = torch.zeros(splits, rows_of_sums, weight.shape[1], dtype=torch.float32, device=x.device)
    bias_sums = torch.zeros(splits, rows_of_sums, dtype=torch.float32, device=x.device)
    constants = {
        **launch.geometry(window, stride, dilation),
        **launch.shape(tile, depth, x),
        **launch.span(reduced, None, tile, KP),
        "VECTOR": launch.vector(x, tile),
        "INDEX": launch.index_dtype(padding, window, dilation, grad, x, reduced, grad_reduced, weight),
    }
    sizes = batch, groups, features, *x.shape[2:], rows, columns, launch.strip(rows), *padding
    outputs = array(grad_reduced if for_reduced else reduced), weight_sums, bias_sums
    inputs = array(grad), array(x), array(reduced), array(weight)

    def launch_for(reduced_too: bool, weight_too: bool, splits: int, blocks: int) -> None:
        plan = Plan(**constants, REDUCED=reduced_too, WEIGHT=weight_too)
        grid = (splits * blocks, -(-features // plan.TR))
        launch.launch(grad_span, grid, (*outputs, *inputs, tiles, splits, *sizes), plan, tile)

    with launch.on_device(x):
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
