"""The GPU: first that the operators are right there, then how fast they, the layer and the networks are.

Bytes and multiply-adds are the least that the operator's definition allows, each input read once and each output
written once; the fractions are of what this GPU was measured to copy and to multiply, not of its data sheet.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measure import ROOT, Budget, Work, interleaved, machine, write
from speed_networks import Case, compare, work
from torch import Tensor, nn
from torch.nn import functional as F

from involution import Involution2d
from involution.ops import cuda, reference, spanned

STAGES = {1: (64, 56), 2: (128, 28), 3: (256, 14), 4: (512, 7)}
"""Stage of RedNet-50 at 224 x 224 → channels and side of its involutions."""

WINDOW, GROUP_CHANNELS, REDUCTION = 7, 16, 4
GEOMETRY = ([1, 1], [WINDOW // 2] * 2, [1, 1])
PAIR = ("rednet50", "resnet50")
OTHERS = ("rednet26", "rednet38", "rednet101", "resnet101")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
Rows = list[dict[str, Any]]


def run(seconds: float, out: Path | None, dry: bool) -> None:
    """Measure what fits into `seconds`, the most telling first, and write it."""
    budget = Budget(seconds)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not dry:
        raise SystemExit("device: expected a GPU that PyTorch sees, got none; --dry-run goes without")
    record: dict[str, Any] = {"dry_run": dry, **machine(device)}
    timing = {"seconds": 0.0, "least": 2, "sample": 0.0, "warmup": 0} if dry else {"seconds": 0.3}
    record["correct"] = check(device, dry)
    record["ceilings"] = ceilings(device, dry, timing)
    batch, stages = (1, {4: (32, 3)}) if dry else (256, STAGES)
    dtypes = [torch.bfloat16] if dry else [torch.bfloat16, torch.float32]
    record["operators"] = list(operators(device, batch, stages, dtypes, record["ceilings"], budget, timing))
    record["layer"] = list(layers(device, batch, stages, dtypes, budget, timing))
    compiler = "eager" if dry else "inductor"
    record["networks"], record["table2"] = [], []
    for networks, cases in plan(dry):
        record["networks"] += compare(networks, cases, device, budget, compiler, **timing)
        if not record["table2"]:
            record["table2"] = table2(device, dry, budget, timing)
    record["skipped"] = budget.skipped
    record["seconds"] = round(seconds - budget.left())
    gpu = re.sub(r"[^a-z0-9]+", "-", record.get("gpu", "dry-run").lower())
    write(out or ROOT / "results" / "measured" / f"speed-{gpu}-torch{torch.__version__.split('+')[0]}.json", record)
    for row in record["networks"]:
        print({key: row[key] for key in ("network", "task", "mode", "dtype", "batch", "ms", "peak_mib")})
    print(f"{record['seconds']} s; skipped: {budget.skipped or 'nothing'}")


def tensors(batch: int, channels: int, side: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Return the arguments of the operators in one block of RedNet, channels last."""
    groups = channels // GROUP_CHANNELS
    taps, features = groups * WINDOW**2, channels // REDUCTION

    def image(depth: int) -> Tensor:
        x = torch.randn(batch, depth, side, side, dtype=dtype, device=device)
        return x.contiguous(memory_format=torch.channels_last)

    return {
        "x": image(channels),
        "grad": image(channels),
        "reduced": image(features),
        "kernel": image(taps).unflatten(1, (groups, WINDOW, WINDOW)),
        "weight": torch.randn(taps, features, dtype=dtype, device=device),
        "bias": torch.randn(taps, dtype=dtype, device=device),
        "groups": groups,
    }


def calls(module: Any, t: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Return the operators of a module, to be called on `t`."""
    x, grad, kernel, groups = t["x"], t["grad"], t["kernel"], t["groups"]
    window = [WINDOW, WINDOW]
    span = (t["reduced"], t["weight"], t["bias"], groups, window, *GEOMETRY)
    both = module if module is not reference else spanned
    return {
        "involution2d": lambda: module.involution2d(x, kernel, *GEOMETRY),
        "involution2d_grad_x": lambda: module.involution2d_grad_x(grad, kernel, x.shape[2:], *GEOMETRY),
        "involution2d_grad_kernel": lambda: module.involution2d_grad_kernel(grad, x, groups, window, *GEOMETRY),
        "involution2d_spanned": lambda: both.involution2d_spanned(x, *span),
        "involution2d_spanned_backward": lambda: both.involution2d_spanned_backward(grad, x, *span),
    }


def check(device: torch.device, dry: bool) -> dict[str, float]:
    """Compare with the reference in float64; return the errors, ‖got − true‖ / ‖true‖.

    Raises:
        SystemExit: one is too large. Nothing is timed then.
    """
    errors = {}
    cudnn: Any = torch.backends.cudnn
    before, cudnn.conv.fp32_precision = cudnn.conv.fp32_precision, "ieee"
    for dtype in (torch.float32, torch.bfloat16):
        t = tensors(1 if dry else 3, 32 if dry else 128, 5 if dry else 27, dtype, device)
        wide = {name: value.double() if isinstance(value, Tensor) else value for name, value in t.items()}
        true = calls(reference, wide)
        for name, call in calls(cuda, t).items():
            got, expected = call(), true[name]()
            pairs = [(got, expected)] if isinstance(got, Tensor) else zip(got, expected, strict=True)
            error = max(((g.double() - e).norm() / e.norm()).item() for g, e in pairs)
            errors[f"{name} {str(dtype).removeprefix('torch.')}"] = error
            if not error <= TOLERANCE[dtype]:
                raise SystemExit(f"{name}: expected {dtype} within {TOLERANCE[dtype]}, got an error of {error:.1e}")
    cudnn.conv.fp32_precision = before
    return errors


def ceilings(device: torch.device, dry: bool, timing: dict[str, Any]) -> dict[str, float]:
    """Measure what the GPU copies, in bytes read and written a second, and multiplies, in multiply-adds a second."""
    size = 2**20 if dry else 2**32
    source = torch.randint(0, 127, (size,), dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    works: dict[str, Work] = {"copy": lambda: target.copy_(source)}
    n = 64 if dry else 8192
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(n, n, dtype=dtype, device=device) for _ in range(2))
        works[str(dtype).removeprefix("torch.")] = lambda a=a, b=b: a @ b
    found = {name: result.median for name, result in interleaved(works, device, **timing).items()}
    return {
        "copy_bytes_per_s": 2 * size / found.pop("copy"),
        **{f"{name}_multiply_adds_per_s": n**3 / seconds for name, seconds in found.items()},
    }


def operators(
    device: torch.device,
    batch: int,
    stages: dict[int, tuple[int, int]],
    dtypes: list[torch.dtype],
    ceiling: dict[str, float],
    budget: Budget,
    timing: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Time every operator on the shapes of RedNet-50, beside the 3x3 convolution in its place."""
    for dtype, (stage, (channels, side)) in itertools.product(dtypes, stages.items()):
        name = str(dtype).removeprefix("torch.")
        if not budget.allows(f"operators {name} stage {stage}", 12):
            continue
        t = tensors(batch, channels, side, dtype, device)
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype, device=device)
        weight = weight.contiguous(memory_format=torch.channels_last)
        works: dict[str, Work] = {
            **calls(cuda, t),
            "conv2d 3x3": lambda x=t["x"], w=weight: F.conv2d(x, w, padding=1),
            "conv2d 3x3 backward": lambda x=t["x"], w=weight, g=t["grad"]: torch.ops.aten.convolution_backward(
                g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
            ),
        }
        count = least(t)
        for operator, found in interleaved(works, device, **timing).items():
            size, multiply_adds = count.get(operator, (0, 0))
            row = {"operator": operator, "stage": stage, "batch": batch, "dtype": name, **found.record()}
            if size:
                row |= {"bytes": size, "multiply_adds": multiply_adds}
                row["of_copy"] = size / found.median / ceiling["copy_bytes_per_s"]
                row["of_matrix_peak"] = multiply_adds / found.median / ceiling[f"{name}_multiply_adds_per_s"]
            yield row


def least(t: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the least bytes and multiply-adds of every operator on `t`."""
    x, reduced, kernel, weight = (t[name] for name in ("x", "reduced", "kernel", "weight"))
    once = x.numel() * WINDOW**2  # as many for each contraction
    span = reduced.numel() * weight.shape[0]
    image, features, parameters = x.nbytes, reduced.nbytes, weight.nbytes + t["bias"].nbytes
    contraction = (2 * image + kernel.nbytes, once)
    return {
        "involution2d": contraction,
        "involution2d_grad_x": contraction,
        "involution2d_grad_kernel": contraction,
        "involution2d_spanned": (2 * image + features + parameters, once + span),
        "involution2d_spanned_backward": (3 * image + 2 * (features + parameters), 2 * once + 3 * span),
    }


def layers(
    device: torch.device,
    batch: int,
    stages: dict[int, tuple[int, int]],
    dtypes: list[torch.dtype],
    budget: Budget,
    timing: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Time the layer, forward and with its backward pass, beside the 3x3 convolution in its place."""
    for dtype, (stage, (channels, side)) in itertools.product(dtypes, stages.items()):
        name = str(dtype).removeprefix("torch.")
        if not budget.allows(f"layer {name} stage {stage}", 6):
            continue
        x = torch.randn(batch, channels, side, side, dtype=dtype, device=device, requires_grad=True)
        x = x.contiguous(memory_format=torch.channels_last)
        image = x.detach()
        both: dict[str, nn.Module] = {
            "Involution2d": Involution2d(channels, WINDOW),
            "Conv2d 3x3": nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        }
        works: dict[str, Work] = {}
        for layer, module in both.items():
            module = module.to(device, dtype, memory_format=torch.channels_last)
            works[f"{layer} forward"] = lambda m=module, x=image: m(x)
            works[f"{layer} forward and backward"] = lambda m=module, x=x: torch.autograd.grad(
                m(x).sum(), [x, *m.parameters()]
            )
        for layer, found in interleaved(works, device, **timing).items():
            yield {"layer": layer, "stage": stage, "batch": batch, "dtype": name, **found.record()}


def plan(dry: bool) -> list[tuple[tuple[str, ...], list[Case]]]:
    """Return which networks are compared in which regimes, the most telling first."""
    bf16, fp32 = torch.bfloat16, torch.float32
    if dry:
        return [(("rednet26", "resnet26"), [Case(2, fp32, "graph", task, 32) for task in ("inference", "training")])]
    first = [
        Case(256, bf16, "graph", "inference"),
        Case(256, bf16, "eager", "inference"),
        Case(256, bf16, "eager", "training"),
        Case(256, bf16, "graph", "training"),
        Case(256, bf16, "compiled", "inference"),
        Case(256, bf16, "compiled", "training"),
    ]
    every = [
        Case(batch, dtype, mode, task)
        for mode, dtype, batch, task in itertools.product(
            ("eager", "graph", "compiled"), (bf16, fp32), (1, 32, 256), ("inference", "training")
        )
    ]
    rest = [case for case in every if case not in first]
    quick = [case for case in rest if case.mode != "compiled"]
    slow = [case for case in rest if case.mode == "compiled"]
    big = [case for case in first if case.mode != "compiled"]
    return [(PAIR, first), (PAIR, quick), (OTHERS, big), (OTHERS, quick), (PAIR, slow), (OTHERS, first + slow)]


def table2(device: torch.device, dry: bool, budget: Budget, timing: dict[str, Any]) -> Rows:
    """Time the networks of the paper's Table 2 as it did: one image, float32, eager."""
    published = tomllib.loads((ROOT / "results" / "published.toml").read_text())["table2"]["rows"]
    case = Case(1, torch.float32, "eager", "inference", 32 if dry else 224)
    if dry:
        published = published[-1:]
    if not budget.allows("table2", 20):
        return []
    works = {row["label"]: work(row["model"], case, device, **row.get("arguments", {})) for row in published}
    found = interleaved(works, device, **timing)
    return [
        {"label": row["label"], "network": row["model"], "published_ms": row["gpu"], **found[row["label"]].record()}
        for row in published
    ]
