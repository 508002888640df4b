"""The operators for CUDA and ROCm tensors, in Triton: one file per loop; docs/gpu.md explains their design.

Triton is imported when the first operator runs: importing the package stays fast. Where Triton is missing or cannot
launch, the reference serves these tensors too, and `status` gives the reason. A call whose program needs more resources
than the device has is served by the reference as well, which for the spanned operators is the stored form; so is a call
with a scale or interleaved groups.

The environment variable INVOLUTION_TENSOR_CORES, if it is 1, turns on a program in CUDA C++ that has not run on a GPU
yet, for the calls that it supports; see `band`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypedDict

import torch

from involution.ops import schema

FILES = {
    "involution2d": "forward",
    "involution2d_grad_x": "grad_x",
    "involution2d_grad_kernel": "grad_kernel",
    "involution2d_spanned": "forward",
    "involution2d_spanned_backward": "spanned_backward",
}
"""Operator → the file that contains it."""

PROGRAMS = 264
"""Programs that fill a GPU: two for each of the 132 multiprocessors of an H100."""

LIMITS = "calls with a scale or interleaved groups are served by the reference"
"""What Triton does not serve."""


class Status(TypedDict):
    """Whether Triton serves CUDA tensors, or why not."""

    loaded: bool
    reason: str | None


@cache
def status() -> Status:
    """Return whether Triton serves CUDA tensors; prepares its launcher, which needs a C compiler once."""
    if find_spec("triton") is None:
        return {"loaded": False, "reason": "Triton is missing: `pip install triton`, which needs Linux"}
    try:
        from triton.runtime import driver

        driver.active.utils  # noqa: B018  (compiled and loaded on first access)
    except Exception as error:  # any error of the compiler, the linker or the driver
        return {"loaded": False, "reason": f"Triton cannot launch programs: {error}"}
    return {"loaded": True, "reason": None}


def implementation(name: str) -> Any:
    """Return an operator's own function, for tensors that Triton can serve."""
    return getattr(import_module(f"{__name__}.{FILES[name]}"), name)


def __getattr__(name: str) -> Any:
    if name in FILES:
        return implementation(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def serve(name: str, *args: Any) -> Any:
    """Run an operator's program, or the reference where it cannot run."""
    first, second, *_ = args
    if not status()["loaded"] or first.dim() != 4 or second.dim() == 8:
        return schema.REFERENCE[name](*args)
    from triton import OutOfResources

    try:
        return implementation(name)(*args)
    except OutOfResources:  # the launch that fails has written nothing; the reference computes all outputs
        return schema.REFERENCE[name](*args)


def _register(name: str) -> None:
    def call(*args: Any) -> Any:
        return serve(name, *args)

    _LIBRARY.impl(name, call, "CUDA")


if find_spec("triton") is not None:
    _LIBRARY = torch.library.Library("involution", "IMPL")
    for _name in FILES:
        _register(_name)
