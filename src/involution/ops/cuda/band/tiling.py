"""The constants, sizes and grid of the program in band.cu: arithmetic without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor

from involution.ops.cuda import PROGRAMS
from involution.ops.layout import is_channels_last

Ints = Sequence[int]

WARPS = 4


class Plan(NamedTuple):
    """One launch.

    Attributes:
        constants: of the compilation.
        sizes: arguments after the tensors, as `Sizes` in band.cu.
        grid: programs.
        shared: bytes of shared memory.
    """

    constants: tuple[tuple[str, int], ...]
    sizes: tuple[int, ...]
    grid: tuple[int, int]
    shared: int


def refusal(
    x: Tensor,
    reduced: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    window: Ints,
    stride: Ints,
    dilation: Ints,
) -> str | None:
    """Return why the program cannot serve these arguments; None if it can."""
    tensors = [x, reduced, weight] + ([] if bias is None else [bias])
    images, depth, features = [x, reduced], x.shape[1] // groups, reduced.shape[1]
    dense = all(t.is_contiguous(memory_format=torch.channels_last) for t in images)
    steps = [s // gcd(s, d) for s, d in zip(stride, dilation, strict=True)]
    reasons = {
        "type: expected bfloat16 or float16": x.dtype not in (torch.bfloat16, torch.float16),
        "type: expected the same of all tensors": any(t.dtype != x.dtype for t in tensors),
        "group: expected 8 channels or a multiple of 16": depth != 8 and depth % 16 != 0,
        "features: expected a multiple of 8, at most 256": features % 8 != 0 or features > 256,
        "window: expected at most 8 rows and columns": max(window) > 8,
        "stride: expected at most 2": max(steps) > 2,
        "layout: expected dense channels-last": not dense or not is_channels_last(x),
        "alignment: expected 16 bytes": any(not t.is_meta and t.data_ptr() % 16 for t in tensors[:3]),
        "size: expected images below 1 GiB": max(2 * t.stride(0) for t in images) >= 2**30,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def plan(
    x: Tensor,
    reduced: Tensor,
    biased: bool,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> Plan:
    """Return the launch for these arguments."""
    batch, channels, height, width = x.shape
    features, (rows, columns) = reduced.shape[1], reduced.shape[2:]
    common = [gcd(s, d) for s, d in zip(stride, dilation, strict=True)]
    TY, TX = (s // g for s, g in zip(stride, common, strict=True))
    PY, PX = (d // g for d, g in zip(dilation, common, strict=True))
    depth = channels // groups
    WIDTH = min(depth, 16)
    FEATURES = up(features, 16) * 16
    ROWS = 4 if FEATURES <= 64 and TY * TX == 1 else 2 if FEATURES <= 128 else 1  # as many as fit into registers
    NARROW = up(columns, PX) <= 8 and batch > 1
    tiles = up(up(rows, PY), WARPS * ROWS), up(up(columns, PX), 8 if NARROW else 16)
    pixels = up(batch, 2 if NARROW else 1) * PY * PX * tiles[0] * tiles[1]
    blocks = channels // WIDTH
    each = up(blocks, min(blocks, max(PROGRAMS // pixels, 1)))
    constants = {
        **{"KH": window[0], "KW": window[1], "TY": TY, "TX": TX, "ROWS": ROWS, "WIDTH": WIDTH, "FEATURES": FEATURES},
        **{"NARROW": int(NARROW), "BIASED": int(biased), "BFLOAT16": int(x.dtype == torch.bfloat16)},
    }
    sizes = (batch, channels, depth, features, height, width, rows, columns, *stride, *padding, *dilation)
    of_x = (TY * (WARPS * ROWS - 1) + window[0]) * TX * (32 if NARROW else 24) * WIDTH // 8
    of_weights = (window[0] * window[1] + 8) * (FEATURES // 8 + 1)
    return Plan(
        tuple(constants.items()),
        (*sizes, PY, PX, *tiles, each),
        (pixels, up(blocks, each)),
        2 * 16 * (of_x + of_weights),
    )


def up(n: int, divisor: int) -> int:
    """Return n / divisor, rounded up."""
    return -(-n // divisor)
