"""`involution info`: versions, devices, and which implementation serves each device and dtype."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import involution  # noqa: F401  (registers the operators)
from involution.cli.errors import Parser
from involution.ops import cpu, cuda

PACKAGES = ("involution", "torch", "torchvision", "timm", "lightning", "triton")
CONTRACTIONS = ("involution2d", "involution2d_grad_x", "involution2d_grad_kernel")
SPANNED = ("involution2d_spanned", "involution2d_spanned_backward")
DTYPES = ("float64", "float32", "bfloat16", "float16")
REFERENCE = "reference (plain PyTorch)"


def run(command: str, arguments: Sequence[str]) -> None:
    """Print the installed versions and the active implementations."""
    parser = Parser(prog="involution info", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    given = parser.parse_args(arguments)
    facts = {"python": platform.python_version(), "packages": _versions(), "devices": _devices()}
    print(json.dumps(facts, indent=1) if given.json else _text(facts))


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _devices() -> list[dict[str, Any]]:
    status = cpu.status()
    devices = [
        {
            "device": "cpu",
            "name": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "implementation": _implementations("CPU", f"C++ ({status['instruction_set']})"),
            "hint": status["reason"],
            "library": str(cpu.LIBRARY) if status["loaded"] else None,
        }
    ]
    for index in range(torch.cuda.device_count()):
        triton = cuda.status()
        served = _implementations("CUDA", "Triton") if triton["loaded"] else dict.fromkeys(DTYPES, REFERENCE)
        name = torch.cuda.get_device_name(index)
        devices.append(
            {"device": f"cuda:{index}", "name": name, "implementation": served, "hint": triton["reason"] or cuda.LIMITS}
        )
    if torch.backends.mps.is_available():
        served = _implementations("MPS", "")
        devices.append({"device": "mps", "name": platform.processor(), "implementation": served, "hint": None})
    return devices


def _implementations(key: str, fast: str) -> dict[str, str]:
    """Query PyTorch's dispatcher for the implementation that serves each dtype.

    The implementation of a dispatch key serves all dtypes of the schema.
    """
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    contractions, spanned = (
        all(has(f"involution::{name}", key) for name in names) for names in (CONTRACTIONS, SPANNED)
    )
    used = f"{fast}{'' if spanned else ', kernels stored'}" if contractions else REFERENCE
    return dict.fromkeys(DTYPES, used)


def _text(facts: dict[str, Any]) -> str:
    lines = [f"{name:14}{found or 'not installed'}" for name, found in facts["packages"].items()]
    lines.insert(1, f"{'python':14}{facts['python']}")
    for device in facts["devices"]:
        lines += ["", f"{device['device']:14}{device['name']}"]
        lines += [f"  {dtype:12}{used}" for dtype, used in device["implementation"].items()]
        if device["hint"]:
            lines.append(f"  {device['hint']}")
        if device.get("library"):
            lines.append(f"  {'library':12}{device['library']}")
    return "\n".join(lines)
