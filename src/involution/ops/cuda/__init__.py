"""The operators for CUDA tensors, in Triton: one file per operator; docs/gpu.md says why they look as they do.

Triton is imported when the first operator runs: importing the package stays light, and where there is no Triton the
reference serves CUDA tensors too.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from involution.ops import schema  # noqa: F401  (defines the operators)

FILES = {
    "involution2d": "forward",
    "involution2d_grad_x": "grad_x",
    "involution2d_grad_kernel": "grad_kernel",
    "involution2d_spanned": "forward",
    "involution2d_spanned_backward": "spanned_backward",
}
"""Operator → the file it lives in."""


def __getattr__(name: str) -> Any:
    if name in FILES:
        return getattr(import_module(f"{__name__}.{FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register(name: str) -> None:
    def first_call(*args: Any) -> Any:
        return __getattr__(name)(*args)

    _LIBRARY.impl(name, first_call, "CUDA")


if find_spec("triton") is not None:
    _LIBRARY = torch.library.Library("involution", "IMPL")
    for _name in FILES:
        _register(_name)
