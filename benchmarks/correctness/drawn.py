"""Random cases of the operators: tensors of any layout, and expected values in float64."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from involution.ops import axes, reference, softmax, spanned

DTYPES = {"float64": 1e-14, "float32": 4e-6, "bfloat16": 4e-3, "float16": 5e-4}
"""Largest error allowed, relative to the largest value of a result or to 1 if that is larger."""

MEMORY = ("contiguous", "channels_last", "sliced", "transposed", "expanded")
THREADS = (1, 3, 7)


@dataclass(frozen=True)
class Case:
    """The arguments of one call of each operator."""

    dtype: str
    threads: int
    memory: tuple[str, str, str, str]  # of x, kernel, grad and reduced
    batch: int
    groups: int
    group_channels: int
    size: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    reduced: int
    bias: bool
    scale: tuple[int, int]
    interleaved: bool
    seed: int

    @property
    def out(self) -> list[int]:
        """Rows and columns of windows, of which the result has `scale` times as many."""
        sizes = zip(self.size, self.padding, self.dilation, self.window, self.stride, strict=True)
        return [max((n + 2 * p - d * (k - 1) - 1) // s + 1, 1) for n, p, d, k, s in sizes]


def draw(seed: int) -> Case:
    """Draw the case of a seed."""
    choose = random.Random(seed)

    def pair(least: int, most: int) -> tuple[int, int]:
        return choose.randint(least, most), choose.randint(least, most)

    return Case(
        dtype=choose.choice(list(DTYPES)),
        threads=choose.choice(THREADS),
        memory=(choose.choice(MEMORY), choose.choice(MEMORY), choose.choice(MEMORY), choose.choice(MEMORY)),
        batch=choose.randint(1, 4),
        groups=choose.choice([1, 2, 3, 5, 12]),
        group_channels=choose.choice([1, 2, 3, 4, 5, 8, 16, 17, 32, 48]),
        size=(choose.randint(1, 20), choose.randint(1, 33)),
        window=pair(1, 9) if choose.random() < 0.5 else (choose.choice([3, 5, 7, 9]),) * 2,
        stride=pair(1, 5) if choose.random() < 0.5 else (choose.choice([1, 2]),) * 2,
        padding=pair(0, 12),
        dilation=pair(1, 5) if choose.random() < 0.4 else (1, 1),
        reduced=choose.choice([1, 4, 15, 16, 33]),
        bias=choose.random() < 0.7,
        scale=pair(1, 4) if choose.random() < 0.4 else (1, 1),
        interleaved=choose.random() < 0.3,
        seed=seed,
    )


def tensors(case: Case, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Create the arguments, the same for every device."""
    generator = torch.Generator().manual_seed(case.seed)
    taps, channels = case.groups * case.window[0] * case.window[1], case.groups * case.group_channels
    scaled = [n * s for n, s in zip(case.out, case.scale, strict=True)]
    shapes = {
        "x": [case.batch, channels, *case.size],
        "kernel": [case.batch, taps, *scaled],
        "grad": [case.batch, channels, *scaled],
        "reduced": [case.batch, case.reduced, *case.out],
    }
    dtype = getattr(torch, case.dtype)

    def normal(shape: list[int]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    made = {name: place(normal(shape), how) for (name, shape), how in zip(shapes.items(), case.memory, strict=True)}
    made["kernel"] = made["kernel"].unflatten(1, (case.groups, *case.window))
    made["spanned x"], made["spanned grad"] = made["x"], made["grad"][..., : case.out[0], : case.out[1]]
    if max(case.scale) > 1:
        made["kernel"], made["grad"] = (axes.split_pixels(made[name], case.scale) for name in ("kernel", "grad"))
    if case.interleaved:
        made["x"], made["grad"] = (axes.split_channels(made[name], case.groups) for name in ("x", "grad"))
    made["weight"] = normal([taps, case.reduced])
    made["bias"] = normal([taps])
    return made


def place(t: Tensor, how: str) -> Tensor:
    """Return [B, C, H, W] with other strides. An expanded tensor repeats its first image and column."""
    if how == "channels_last":
        return t.contiguous(memory_format=torch.channels_last)
    if how == "sliced":
        wide = torch.full([n + 3 for n in t.shape], float("nan"), dtype=t.dtype, device=t.device)
        inside = wide[tuple(slice(1, n + 1) for n in t.shape)]
        return inside.copy_(t)
    if how == "transposed":
        return t.mT.contiguous().mT
    return t[:1, :, :, :1].expand_as(t) if how == "expanded" else t.contiguous()


def computed(case: Case, t: dict[str, Tensor], ops: Any = torch.ops.involution) -> Iterator[tuple[str, Tensor]]:
    """Yield the outputs of the operators `ops`."""
    geometry = (list(case.stride), list(case.padding), list(case.dilation))
    window, bias = list(case.window), t["bias"] if case.bias else None
    span = (t["reduced"], t["weight"], bias, case.groups, window, *geometry)
    yield "y", ops.involution2d(t["x"], t["kernel"], *geometry)
    if hasattr(ops, "involution2d_softmax"):  # there is no program for it on GPU
        yield "softmax y", ops.involution2d_softmax(t["x"], t["kernel"], *geometry)
    yield "grad_x", ops.involution2d_grad_x(t["grad"], t["kernel"], list(case.size), *geometry)
    yield "grad_kernel", ops.involution2d_grad_kernel(t["grad"], t["x"], case.groups, window, *geometry)
    yield "spanned y", ops.involution2d_spanned(t["spanned x"], *span)
    grads = ops.involution2d_spanned_backward(t["spanned grad"], t["spanned x"], *span)
    for name, grad in zip(("x", "reduced", "weight", "bias"), grads, strict=True):
        yield f"spanned grad_{name}", grad


def expected(case: Case, t: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute the expected outputs in float64 by the formula."""
    t = {name: value.double() for name, value in t.items()}
    geometry = (list(case.stride), list(case.padding), list(case.dilation))
    size, window, bias = list(case.size), list(case.window), t["bias"] if case.bias else None
    kernel = spanned.span(t["reduced"], t["weight"], bias, case.groups, window)
    x, grad = t["spanned x"], t["spanned grad"]
    taps = reference.involution2d_grad_kernel(grad, x, case.groups, window, *geometry).flatten(1, 3)
    return {
        "y": reference.involution2d(t["x"], t["kernel"], *geometry),
        "softmax y": reference.involution2d(t["x"], softmax.kernels(t["kernel"]), *geometry),
        "grad_x": reference.involution2d_grad_x(t["grad"], t["kernel"], size, *geometry),
        "grad_kernel": reference.involution2d_grad_kernel(t["grad"], t["x"], case.groups, window, *geometry),
        "spanned y": reference.involution2d(x, kernel, *geometry),
        "spanned grad_x": reference.involution2d_grad_x(grad, kernel, size, *geometry),
        "spanned grad_reduced": torch.einsum("bthw,tr->brhw", taps, t["weight"]),
        "spanned grad_weight": torch.einsum("bthw,brhw->tr", taps, t["reduced"]),
        "spanned grad_bias": taps.sum((0, 2, 3)) if case.bias else taps.new_empty(0),
    }


def errors(case: Case) -> dict[str, float]:
    """Return the error of each result relative to the tolerance of its dtype; values above 1 are failures."""
    before = torch.get_num_threads()
    t = tensors(case)
    torch.set_num_threads(case.threads)
    got = dict(computed(case, t))
    torch.set_num_threads(before)
    return compared(case, got, t)


def compared(case: Case, got: dict[str, Tensor], t: dict[str, Tensor]) -> dict[str, float]:
    """Return the error of each of the results `got` for arguments `t` on CPU, as `errors`."""
    found, true = {}, expected(case, t)
    for name, result in got.items():
        value = true[name]
        if result.shape != value.shape or result.dtype != t["x"].dtype:
            found[name] = float("inf")
        elif value.numel():
            scale = value.abs().max().clamp(min=1)
            error = (result.cpu().double() - value).abs().max() / scale / DTYPES[case.dtype]
            found[name] = float(error.nan_to_num(nan=float("inf")))
    return found


def describe(case: Case) -> dict[str, Any]:
    """Return the case as JSON-serializable values."""
    return asdict(case)
