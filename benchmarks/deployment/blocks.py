"""Where the time of a prepared RedNet-50 is: the stem, every block and the classifier, each beside its bound.

A part is bounded by the multiply-adds and by the bytes of its input, output and weights, at the limits of the machine
that are measured in the same run. Parts take turns, each on the input that it has in the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import involution.models  # registers the networks
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.peak import limits, share
from benchmarks.measuring.shapes import images
from benchmarks.measuring.timing import Work, interleaved
from involution.models.fused import FusedBottleneck, FusedStem

PARTS = (FusedStem, FusedBottleneck, nn.Linear)
DTYPES = (torch.float32, torch.bfloat16)


def run(options: Options) -> Measured:
    """Time every part in float32 and bfloat16."""
    name, batch, size = ("rednet26", 1, 32) if options.dry_run else ("rednet50", 16, 224)
    bounds = limits(options)
    bounds["macs_per_s"]["bfloat16"] = product_limit(torch.bfloat16, options)
    rows = [row for dtype in DTYPES for row in parts(name, images(batch, 3, size).to(dtype), bounds, options)]
    return Measured(rows, {"network": name, "batch": batch, "size_px": size, "limits": bounds})


def product_limit(dtype: torch.dtype, options: Options) -> float:
    """Return the multiply-adds per second of a large matrix product."""
    side = 64 if options.dry_run else 4096
    a, b = (torch.randn(side, side, dtype=dtype) for _ in range(2))
    return float(
        side**3 / interleaved({"product": lambda: a @ b}, options.device, **options.timing(2.0))["product"].best
    )


def parts(name: str, x: Tensor, bounds: Row, options: Options) -> Iterator[Row]:
    """Yield a row per part of the prepared network: time, multiply-adds, bytes and the bound that follows."""
    torch.manual_seed(0)
    network = involution.models.prepare(timm.create_model(name).eval().to(x.dtype))
    found = {part: module for part, module in network.named_modules() if isinstance(module, PARTS)}
    inputs: dict[str, Tensor] = {}
    for part, module in found.items():
        module.register_forward_pre_hook(lambda _, args, part=part: inputs.update({part: args[0].clone()}))
    with torch.no_grad():
        network(x)
        for module in found.values():
            module._forward_pre_hooks.clear()
        works: dict[str, Work] = {part: partial(module, inputs[part]) for part, module in found.items()}
        times = interleaved(works, options.device, **options.timing(30.0))
        dtype = str(x.dtype).removeprefix("torch.")
        for part, module in found.items():
            with FlopCounterMode(display=False) as counter:
                y = module(inputs[part])
            macs = counter.get_total_flops() // 2  # PyTorch counts a multiply-add as two
            moved = sum(
                t.numel() * t.element_size() for t in (inputs[part], y, *module.parameters(), *module.buffers())
            )
            for_macs = macs / bounds["macs_per_s"][dtype] if bounds["macs_per_s"][dtype] else 0.0
            bound = max(for_macs, moved / bounds["copy_bytes_per_s"])
            yield {
                "part": part,
                "dtype": dtype,
                "input": list(inputs[part].shape),
                **times[part].row(),
                "macs": macs,
                "of_macs_limit": share(bounds, macs, dtype, times[part].median),
                "moved_bytes": moved,
                "bound_ms": 1e3 * bound,
            }
