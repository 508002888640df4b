"""Time and peak memory of the functions of `involution.family`, compared to the code that their users run on CPUs.

The others are torchvision's `upsample_flow` and, for the other functions, copies of all windows (`unfold`), which is
what their projects run without a GPU. The two forms take turns; memory is measured in a separate process for each,
relative to the level before the call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.optical_flow._utils import upsample_flow

from benchmarks.measuring.memory import peak_memory_mib
from benchmarks.measuring.options import Measured, Options
from benchmarks.measuring.process import in_new_process
from benchmarks.measuring.timing import Work, interleaved
from involution import family

FORMS = ("family", "rival")


def windows(x: Tensor, size: int) -> Tensor:
    """Return copies of all windows, [B, C, K·K, H, W]."""
    return F.unfold(x, size, padding=size // 2).view(*x.shape[:2], size * size, *x.shape[2:])


def ska(x: Tensor, w: Tensor) -> Tensor:
    """Aggregate as LSNet without Triton."""
    groups, taps = w.shape[1:3]
    seen = windows(x, 3).view(len(x), -1, groups, taps, *x.shape[2:])
    return (seen * w.unsqueeze(1)).sum(3).flatten(1, 2)


def carafe(features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int) -> Tensor:
    """Upsample the windows to the size of the kernels, then sum them."""
    batch, channels = features.shape[:2]
    seen = windows(features, kernel_size).flatten(1, 2)
    seen = F.interpolate(seen, scale_factor=scale_factor, mode="nearest")
    seen = seen.view(batch, group_size, channels // group_size, kernel_size**2, *masks.shape[2:])
    return (seen * masks.view(batch, group_size, 1, kernel_size**2, *masks.shape[2:])).sum(3).flatten(1, 2)


def predict_kernels(frames: Tensor, core: Tensor, kernel_size: int) -> Tensor:
    """Sum the windows of one frame."""
    return (windows(frames, kernel_size) * core.unsqueeze(1)).sum(2)


Case = tuple[Callable[..., Tensor], Callable[..., Tensor], list[list[int]], list[int]]
"""The function, its rival, the shapes of its tensors, and its other arguments."""

CASES: dict[str, Case] = {
    "convex_upsample, 8x, to 440x1024": (
        family.convex_upsample,
        upsample_flow,
        [[1, 2, 55, 128], [1, 576, 55, 128]],
        [8],
    ),
    **{
        f"ska, 3x3, {channels} channels, {side}x{side}, batch {batch}": (
            family.ska,
            ska,
            [[batch, channels, side, side], [batch, channels // 8, 9, side, side]],
            [],
        )
        for batch in (1, 16)
        for channels, side in ((64, 28), (128, 14), (256, 7), (384, 4))
    },
    **{
        f"predict_kernels, {size}x{size}, 512x512": (
            family.predict_kernels,
            predict_kernels,
            [[1, 3, 512, 512], [1, size**2, 512, 512]],
            [size],
        )
        for size in (5, 21)
    },
    **{
        f"carafe, 5x5, 2x, {level} of 800x1280": (
            family.carafe,
            carafe,
            [[1, 256, height, width], [1, 25, 2 * height, 2 * width]],
            [5, 1, 2],
        )
        for level, height, width in (("P3", 100, 160), ("P4", 50, 80), ("P5", 25, 40))
    },
}
SMALL = "convex_upsample, 8x, to 440x1024"


def prepare(name: str, side: int | None = None) -> dict[str, Work]:
    """Return the calls of both forms on the same tensors; `side` replaces the height and width of the first one."""
    ours, rival, shapes, numbers = CASES[name]
    if side:
        height, width = shapes[0][-2:]
        shapes = [[*shape[:-2], shape[-2] * side // height, shape[-1] * side // width] for shape in shapes]
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    return {"family": lambda: ours(*tensors, *numbers), "rival": lambda: rival(*tensors, *numbers)}


def memory_mib(name: str, form: str) -> float:
    """Return the peak memory of one call above the level before it, after a small one that loads code and threads."""
    with torch.inference_mode():
        torch.randn(2**20).mul(2).sum()
        prepare(name, side=4)[form]()
        return peak_memory_mib(prepare(name)[form], torch.device("cpu"))


def run(options: Options) -> Measured:
    """Measure each case in both forms and compare the outputs."""
    rows: list[dict[str, Any]] = []
    cases = [SMALL] if options.dry_run else list(CASES)
    with torch.inference_mode():
        for name in cases:
            works = prepare(name)
            # Also the warm-up: some rivals take seconds.
            torch.testing.assert_close(works["family"](), works["rival"](), atol=1e-4, rtol=1e-4)
            times = interleaved(works, torch.device("cpu"), **{**options.timing(2.5), "warmup": 0})
            rows += [{"case": name, "form": form, **times[form].row()} for form in FORMS]
    for row, (name, form) in zip(rows, itertools.product(cases, FORMS), strict=True):
        measure = memory_mib if options.dry_run else lambda *pair: in_new_process(__name__, "memory_mib", *pair)
        row["peak_memory_mib"] = measure(name, form)
    return Measured(rows, {"dtype": "float32", "task": "inference"})
