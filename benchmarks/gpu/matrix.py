"""The cases that the Triton programs are compiled for, and the launches of the operators in each case."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from involution.ops import cuda

REDUCTION = 4
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_86": GPUTarget("cuda", 86, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
launch_and_run = JITFunction.run
launches: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Case:
    """One point of the matrix: a block of RedNet on a batch of images."""

    arch: str = "sm_90"
    layout: str = "nhwc"
    group_channels: int = 16
    dtype: str = "bfloat16"
    window: int = 7
    stride: int = 1
    channels: int = 64
    side: int = 56


AXES: dict[str, tuple[Any, ...]] = {
    "arch": tuple(TARGETS),
    "layout": ("nhwc", "nchw"),
    "group_channels": (16, 1, 4),
    "dtype": ("bfloat16", "float32"),
    "window": (7, 3, 5, 13),
    "stride": (1, 2),
}

READ = [
    *(
        Case(layout=layout, group_channels=depth, dtype=dtype)
        for depth, layout, dtype in itertools.product((16, 1), ("nhwc", "nchw"), ("bfloat16", "float32"))
    ),
    *(Case(dtype=dtype, channels=512, side=7) for dtype in ("bfloat16", "float32")),
]
"""Cases that docs/gpu.md prints: RedNet's first stage in all layouts, and its last stage."""


def every(**chosen: Any) -> list[Case]:
    """Return all cases of the matrix, or those with the given values."""
    axes = {**AXES, **{name: (value,) for name, value in chosen.items()}}
    return [Case(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]


def selection() -> list[Case]:
    """Return a subset of the matrix that covers all pairs of values, and the cases shown in the tables."""

    def pairs(case: Case) -> set[Any]:
        return set(itertools.combinations([(name, getattr(case, name)) for name in AXES], 2))

    cases, candidates = list(READ), every()
    left = set().union(*map(pairs, candidates)) - set().union(*map(pairs, cases))
    while left:
        cases.append(max(candidates, key=lambda case: len(left & pairs(case))))
        left -= pairs(cases[-1])
    return cases


class Target:
    """The part of a driver that compilation needs: the target, one device, one stream."""

    def __init__(self, arch: str) -> None:
        self.target = TARGETS[arch]
        self.device = list(TARGETS).index(arch)  # Triton caches compiled programs by device index

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.device

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
    """Compile and record each launch without executing it."""
    binary = launch_and_run(self, *args, grid=grid, warmup=True, **kwargs)
    name = self.fn.__name__ + ("_spanned" if kwargs["plan"].TR and self.fn.__name__ != "grad_span" else "")
    launches.append({"program": name, "binary": binary})
    return binary


def launch_all(case: Case, batch: int = 256, size: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """Call each operator as in a block of RedNet; return the recorded launches."""
    driver.set_active(Target(case.arch))
    JITFunction.run = compile_only
    torch.version.hip = "compiled" if case.arch.startswith("gfx") else None
    height, width = size or (case.side, case.side)
    groups, features = case.channels // case.group_channels, case.channels // REDUCTION
    window, stride = [case.window] * 2, [case.stride] * 2
    taps, dtype = groups * case.window**2, getattr(torch, case.dtype)
    layout = torch.channels_last if case.layout == "nhwc" else torch.contiguous_format

    def image(depth: int, stride: int = case.stride) -> torch.Tensor:
        size = [-(-n // stride) for n in (height, width)]
        return torch.empty(batch, depth, *size, dtype=dtype, device="meta").contiguous(memory_format=layout)

    x, grad, reduced = image(case.channels, 1), image(case.channels), image(features)
    kernel = image(taps).unflatten(1, (groups, *window))
    weight, bias = (torch.empty(taps, *n, dtype=dtype, device="meta") for n in ((features,), ()))
    geometry = stride, [case.window // 2] * 2, [1, 1]
    span = reduced, weight, bias, groups, window, *geometry
    launches.clear()
    cuda.involution2d(x, kernel, *geometry)
    cuda.involution2d_grad_x(grad, kernel, [height, width], *geometry)
    cuda.involution2d_grad_kernel(grad, x, groups, window, *geometry)
    cuda.involution2d_spanned(x, *span)
    cuda.involution2d_spanned_backward(grad, x, *span)
    return list(launches)
