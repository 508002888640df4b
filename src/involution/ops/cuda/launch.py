"""How the programs are laid over the pixels and channels: one policy, no tuning runs; docs/gpu.md derives it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

Ints = Sequence[int]

SIZES = ["B", "G", "H", "W", "Ho", "Wo", "band", "PH", "PW", "rows", "columns", "top", "left", "u0", "tiles", "splits"]
SIZES += ["skb", "skg", "sku", "skh"]
"""Arguments that vary with the shape of the input: no compilation of their own for 1 or for multiples of 16."""


def power(n: int) -> int:
    """Return the smallest power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


class Tile(NamedTuple):
    """What one program computes: `TQ` quads of pixels, `TG` groups, `TD` channels of a group."""

    TQ: int
    TG: int
    TD: int
    num_warps: int


@cache
def tile(
    groups: int, depth: int, itemsize: int, last: bool, quads: int = 16, channels: int = 64, sums: int = 32
) -> Tile:
    """Choose a tile for G groups of `depth` channels.

    Channels last, several threads share the channels of a group and hold the same kernels, so they get few sums: 32,
    which with 28 kernels for K = 7 and the addresses stay below 128 registers in the 16-bit types. Channels first, a
    thread holds all channels of a quad and shares its kernels with none.

    Args:
        groups, depth: G and C/G.
        itemsize: bytes of a value.
        last: whether channels lie densest in memory.
        quads, channels: the size aimed at.
        sums: per thread.
    """
    TD = min(power(depth), 64 if last else 16)
    TG = min(power(groups), channels // TD)
    threads = 4 * quads * TG * TD // (sums if itemsize <= 4 else sums // 2) if last else quads * TG
    return Tile(quads, TG, TD, min(8, max(1, threads // 32)))


@cache
def wide_tile(groups: int, depth: int, itemsize: int, last: bool) -> Tile:
    """Choose a tile for the spanned gradient of x, which makes a product for every column that a quad hears from.

    Twice the sums a thread and up to four times the groups a program halve what bringing features and weights to the
    tensor cores costs for each; all 255 registers are in use then.
    """
    channels, sums = (256, 64) if itemsize == 2 else (128, 32)
    few = min(power(groups) * min(power(depth), 64), channels) <= 64
    return tile(groups, depth, itemsize, last, 32 if few else 16, channels, sums)


def taps(window: int, tile: Tile) -> int:
    """Return how wide a row of the window is made: a power of two, and products at least 16 wide."""
    return max(power(window), -(-16 // tile.TG))


def vector(x: Tensor, tile: Tile) -> int:
    """Return how many channels of a group one thread holds: 16 bytes if they lie together, all if they do not."""
    return min(16 // x.itemsize, tile.TD) if x.stride(1) == 1 else tile.TD


def features(count: int) -> int:
    """Return how many of R features are multiplied at once."""
    return min(max(power(count), 16), 128)


def two_steps(x: Tensor) -> bool:
    """Return whether the kernels are made first and used then: in float64, which is for checks, not for speed."""
    return x.dtype == torch.float64


def constants(window: Ints, stride: Ints, dilation: Ints, tile: Tile, x: Tensor) -> dict[str, Any]:
    """Return what every program is compiled for."""
    (KH, KW), (SH, SW), (DH, DW) = window, stride, dilation
    return {
        **{"KH": KH, "KW": KW, "SH": SH, "SW": SW, "DH": DH, "DW": DW},
        **tile._asdict(),
        "LAST": x.stride(1) == 1,
        "num_stages": 1,  # ten products a row would each get buffers of their own; other programs fill the waiting
        "enable_fp_fusion": True,  # Triton's default until 3.9, said aloud since it is to change
    }


def band(rows: int) -> int:
    """Return the height of the bands that pixels are counted in: at most 8, and all bands of an image the same."""
    bands = -(-rows // 8)
    return -(-rows // bands) if bands else 1


def programs(batch: int, rows: int, columns: int, quads: int) -> int:
    """Return how many tiles of `quads` quads cover the images."""
    height = band(rows)
    return -(-(batch * -(-rows // height) * height * -(-columns // 4)) // quads)


def blocks(groups: int, depth: int, tile: Tile) -> int:
    """Return how many programs share a tile of pixels."""
    return -(-groups // tile.TG) * -(-depth // tile.TD)


def index_dtype(*tensors: Tensor) -> tl.dtype:
    """Return the dtype that distances in memory are counted in: 32 bits unless a tensor reaches further."""
    ends = [sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True)) for t in tensors]
    return tl.int32 if max(ends) < 2**30 else tl.int64


def on_device(x: Tensor) -> AbstractContextManager[object]:
    """Make the device of `x` the one that is launched on; the interpreter works on CPU tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
