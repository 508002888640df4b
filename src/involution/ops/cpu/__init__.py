"""The compiled operators for CPU tensors. Importing this package loads them, if they were built.

`binding.cpp` is what PyTorch calls. `instruction_set.h`, with the loops that it includes from `loops/`, is compiled
once per instruction set; the set is chosen when first used. The environment variable INVOLUTION_CPU selects another
set than the best: "amx", "avx512_bf16", "avx512", "avx2" or "baseline"; "reference" loads nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

import torch

LIBRARY = Path(__file__).with_name("_kernels.so")
BUILD_ERROR = LIBRARY.with_name("build_error.txt")  # written by setup.py where compiling failed
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
EXTENSIONS = ("avx512_bf16", "amx")  # of avx512, for the fused blocks


class Status(TypedDict):
    """Whether the compiled operators serve CPU tensors, with which instruction set, or why not."""

    loaded: bool
    instruction_set: str | None
    reason: str | None


def _load() -> str | None:
    """Load the library; return the reason if there is none to load.

    Raises:
        ValueError: INVOLUTION_CPU has another value than those above.
    """
    wanted = os.environ.get("INVOLUTION_CPU", "")
    if wanted == "reference":
        return "the environment variable INVOLUTION_CPU asks for the reference"
    if wanted not in ("", *INSTRUCTION_SETS, *EXTENSIONS):
        known = ", ".join(("reference", *INSTRUCTION_SETS, *EXTENSIONS))
        raise ValueError(f"INVOLUTION_CPU: expected one of {known}, got {wanted!r}")
    if not LIBRARY.exists():
        return _why_not_built()
    try:
        torch.ops.load_library(str(LIBRARY))
    except OSError as error:
        return f"the C++ extension does not load: {error}"
    return None


def _why_not_built() -> str:
    if not BUILD_ERROR.exists():
        return "the C++ extension was not built: install a C++ compiler and reinstall involution"
    return f"the C++ extension was not built: {BUILD_ERROR.read_text(encoding='utf-8').strip()}"


_reason = _load()


def status() -> Status:
    """Return whether the compiled operators are in use."""
    if _reason is not None:
        return {"loaded": False, "instruction_set": None, "reason": _reason}
    name = INSTRUCTION_SETS[torch.ops.involution.cpu_instruction_set()]
    return {"loaded": True, "instruction_set": name, "reason": None}
