"""Assignment of programs to pixels and channels: one policy without tuning runs; docs/gpu.md derives it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor
from triton import OutOfResources

from involution.ops.cuda.precision import product_mode, ptx, sum_dtype
from involution.ops.cuda.tile import Array

Ints = Sequence[int]

SIZES = ["B", "G", "H", "W", "Ho", "Wo", "strip", "PH", "PW", "rows", "columns", "top", "left", "u0", "tiles", "splits"]
SIZES += ["skb", "skg", "sku", "skh"]
"""Arguments that vary with the shape of the input: not specialized for 1 or for multiples of 16."""

REGISTERS = 32
"""Taps of one row of the window that a thread holds, unless a single row of four pixels has more."""

WIDEST = 4 * 16
"""Taps of one row of the window at most: with more, every thread spills."""

THREADS = 256
"""Threads of a program at most."""


@dataclass(frozen=True)
class Plan:
    """Compile-time constants of a program.

    Not a tuple: Triton 3.6 forgets the names of a tuple's fields.

    Attributes:
        KH, KW, SH, SW, DH, DW: window, stride, dilation.
        D: channels of a group.
        TQ, TG, TD: quads, groups and channels of a group of one program.
        KP: taps of a row of the window, padded.
        LAST: whether channels are densest in memory.
        ACC, INDEX: dtypes of sums and of distances in memory.
        PTX: whether inline assembly for NVIDIA is supported.
        TR: features that are multiplied at once; 0 where kernels are stored.
        CHUNKED: whether there are more features than TR.
        BIASED: whether the span has a bias.
        PRECISION: how float32 matrices are multiplied.
        VECTOR: channels of a group that a thread holds, in the gradient of the kernels.
        PHASE, DU: of the gradient of x; see `grad_x.remainders`.
        REDUCED, WEIGHT: which gradients of the span are computed.
    """

    KH: int
    KW: int
    SH: int
    SW: int
    DH: int
    DW: int
    D: int
    TQ: int
    TG: int
    TD: int
    KP: int
    LAST: bool
    ACC: Any
    INDEX: Any
    PTX: bool
    TR: int = 0
    CHUNKED: bool = False
    BIASED: bool = False
    PRECISION: str = ""
    VECTOR: int = 0
    PHASE: int = 0
    DU: int = 1
    REDUCED: bool = False
    WEIGHT: bool = False


class Tile(NamedTuple):
    """The work of one program: `TQ` quads of pixels, `TG` groups, `TD` channels of a group."""

    TQ: int
    TG: int
    TD: int
    num_warps: int


def power(n: int) -> int:
    """Return the smallest power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


@cache
def tile(
    groups: int, depth: int, taps: int, itemsize: int, last: bool, quads: int = 16, channels: int = 64, sums: int = 32
) -> Tile:
    """Choose a tile for G groups of `depth` channels.

    The registers of a thread hold sums and taps. A thread gets `sums` sums; with few channels a group it would get
    the taps of many groups, so there are as many threads as keep these below `REGISTERS`, and fewer groups if that
    makes more threads than `THREADS`.

    Args:
        groups, depth: G and C/G.
        taps: of four pixels, held at once; more where each one needs its own address.
        itemsize: bytes of a value.
        last: whether channels are densest in memory.
        quads, channels: the target size.
        sums: per thread.
    """
    if taps > WIDEST:
        raise OutOfResources(taps, WIDEST, "taps")
    sums = sums if itemsize <= 4 else sums // 2
    TD = min(power(depth), 64 if last else 16)
    TG = min(power(groups), max(channels // TD, 1))

    def threads(TG: int) -> int:
        return max(4 * quads * TG * TD // sums, quads * TG * min(taps, REGISTERS) // REGISTERS)

    while TG > 1 and threads(TG) > THREADS:
        TG //= 2
    return Tile(quads, TG, TD, min(THREADS, max(32, threads(TG))) // 32)


@cache
def wide_tile(groups: int, depth: int, itemsize: int, last: bool) -> Tile:
    """Choose a tile for the spanned gradient of x, which computes a product for every column that a quad reads.

    With channels last in 16 bits, a thread has twice the sums and a program up to four times the groups. This halves
    the cost of loading features and weights for the tensor cores for each of them, and uses all 255 registers.
    """
    channels, sums = (256, 64) if itemsize == 2 and last else (128, 32)
    few = min(power(groups) * min(power(depth), 64), channels) <= 64
    return tile(groups, depth, 8, itemsize, last, 32 if few else 16, channels, sums)


@cache
def deep_tile(groups: int, depth: int, taps: int, itemsize: int, last: bool) -> Tile:
    """Choose a tile for the gradient of kernels, which is summed over channels: in one thread if possible."""
    return tile(groups, depth, taps, itemsize, last, sums=32 if last else 64)


def vector(x: Tensor, tile: Tile) -> int:
    """Return how many channels of a group one thread holds: 16 bytes if they are contiguous, else all."""
    return min(16 // x.itemsize, tile.TD) if x.stride(1) == 1 else tile.TD


def two_steps(x: Tensor) -> bool:
    """Return whether the kernels are stored first and then used: in float64, which is for checks, not for speed."""
    return x.dtype == torch.float64


def geometry(window: Ints, stride: Ints, dilation: Ints) -> dict[str, Any]:
    """Return the geometry in the form of a plan."""
    names = ("KH", "KW", "SH", "SW", "DH", "DW")
    return dict(zip(names, (*window, *stride, *dilation), strict=True))


def shape(tile: Tile, depth: int, x: Tensor) -> dict[str, Any]:
    """Return tile, layout and sums in the form of a plan."""
    TQ, TG, TD, _ = tile
    return {"D": depth, "TQ": TQ, "TG": TG, "TD": TD, "LAST": x.stride(1) == 1, "ACC": sum_dtype(x), "PTX": ptx()}


def span(reduced: Tensor, bias: Tensor | None, tile: Tile, KP: int) -> dict[str, Any]:
    """Return the products of the span in the form of a plan.

    Args:
        reduced, bias: arguments of the span.
        tile, KP: a product has TG·KP columns, and at least 16; weights for them take 32 KiB of shared memory at most.
    """
    KP = max(KP, -(-16 // tile.TG))
    features = reduced.shape[1]
    at_once = min(max(power(features), 16), 128, 2**15 // (tile.TG * KP * reduced.itemsize))
    return {
        "TR": at_once,
        "KP": KP,
        "CHUNKED": features > at_once,
        "BIASED": bias is not None,
        "PRECISION": product_mode(),
    }


def array(x: Tensor) -> Array:
    """Return a tensor in the form that programs take."""
    return Array(x, x.stride())


def strip(rows: int) -> int:
    """Return the height of the strips that pixels are counted in: at most 8, and all strips of an image the same."""
    strips = -(-rows // 8)
    return -(-rows // strips) if strips else 1


def programs(batch: int, rows: int, columns: int, quads: int) -> int:
    """Return how many tiles of `quads` quads cover the images."""
    height = strip(rows)
    return -(-(batch * -(-rows // height) * height * -(-columns // 4)) // quads)


def blocks(groups: int, depth: int, tile: Tile) -> int:
    """Return how many programs share a tile of pixels."""
    return -(-groups // tile.TG) * -(-depth // tile.TD)


def index_dtype(padding: Ints, window: Ints, dilation: Ints, *tensors: Tensor) -> tl.dtype:
    """Return the dtype of distances in memory: 32 bits unless a tensor is too large for it.

    Windows begin and end outside the image: the size of maps [..., H, W] includes the extent of padding and window.
    """
    margin = [max(p, (k - 1) * d) for p, k, d in zip(padding, window, dilation, strict=True)]

    def end(t: Tensor) -> int:
        beyond = [0] * (t.dim() - 2) + margin if t.dim() >= 4 else [0] * t.dim()
        return sum((n - 1 + 2 * m) * s for n, m, s in zip(t.shape, beyond, t.stride(), strict=True))

    return tl.int32 if max(map(end, tensors)) < 2**30 else tl.int64


def on_device(x: Tensor) -> AbstractContextManager[object]:
    """Make the device of `x` the current one for launches; the interpreter works on CPU tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def launch(program: Any, grid: tuple[int, ...], arguments: Sequence[Any], plan: Plan, tile: Tile) -> None:
    """Launch a program; Triton raises `OutOfResources` before anything runs if the device has too little for it."""
    program[grid](
        *arguments,
        plan=plan,
        num_warps=tile.num_warps,
        num_stages=1,  # else each of ten products a row gets its own buffers; other programs hide the latency
        enable_fp_fusion=True,  # Triton's default until 3.9, explicit because it will change
    )
