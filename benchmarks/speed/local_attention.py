"""Time and peak memory of local attention with the operators, compared to the same networks with unfold.

One forward pass. Each measurement runs in a separate process; memory is relative to the level before the first pass.
The two forms take turns.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import involution.models  # noqa: F401  (registers the networks)
from benchmarks.measuring.memory import peak_memory_mib
from benchmarks.measuring.options import Measured, Options
from benchmarks.measuring.process import in_new_process
from involution.layers.attention.san import SANPairwise2d
from involution.layers.attention.standalone import StandAlone2d

NETWORKS = ("resnet26_standalone", "san10_pairwise")
FORMS = ("operator", "unfold")
ROUNDS, PASSES = 2, 4


def standalone_unfolded(layer: StandAlone2d, x: Tensor) -> Tensor:
    """Return what the layer returns, from copies of the windows of keys and values."""
    geometry: dict[str, Any] = {"padding": layer.padding, "dilation": layer.dilation}
    kh, kw = layer.kernel_size
    query = layer.query(x).flatten(2).unflatten(1, (layer.heads, -1))  # [B, heads, d, H·W]
    key, value = (
        F.unfold(part(x), (kh, kw), **geometry).unflatten(1, (layer.heads, query.shape[2], -1))
        for part in (layer.key, layer.value)
    )  # [B, heads, d, K·K, H·W]
    assert layer.rows is not None and layer.columns is not None
    position = torch.cat([layer.rows[:, :, None].expand(-1, -1, kw), layer.columns[:, None].expand(-1, kh, -1)])
    logits = torch.einsum("bhdp,bhdop->bhop", query, key)
    logits += torch.einsum("bhdp,do->bhop", query, position.flatten(1))
    outside = F.unfold(torch.ones_like(x[:1, :1]), (kh, kw), **geometry) == 0
    weights = logits.masked_fill_(outside, -torch.inf).softmax(2)
    y = torch.einsum("bhop,bhdop->bhdp", weights, value)
    return layer.pool(y.flatten(1, 2).unflatten(2, x.shape[2:]))


def pairwise_unfolded(layer: SANPairwise2d, x: Tensor) -> Tensor:
    """Return what the layer returns, from copies of the windows of keys and values."""
    window, margins = layer.kernel_size, [layer.kernel_size // 2] * 4

    def near(part: Tensor) -> Tensor:
        return F.unfold(F.pad(part, margins, mode="reflect"), window).unflatten(1, (part.shape[1], -1))

    axes = [torch.linspace(-1, 1, size) for size in x.shape[2:]]
    position = layer.position(torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])[None])
    position = (position.flatten(2)[:, :, None] - near(position)).expand(len(x), -1, -1, -1)
    relation = torch.cat([layer.query(x).flatten(2)[:, :, None] - near(layer.key(x)), position], 1)
    weights = layer.mlp(relation).softmax(2)  # [B, G, K·K, H·W]
    values = near(layer.value(x)).unflatten(1, (layer.groups, -1))  # [B, G, 8, K·K, H·W]
    return torch.einsum("bgop,bgcop->bgcp", weights, values).flatten(1, 2).unflatten(2, x.shape[2:])


UNFOLDED: dict[type[nn.Module], Callable[..., Tensor]] = {
    StandAlone2d: standalone_unfolded,
    SANPairwise2d: pairwise_unfolded,
}


def run(options: Options) -> Measured:
    """Measure each network in both forms and compare the outputs."""
    networks, rounds = (NETWORKS[:1], 1) if options.dry_run else (NETWORKS, ROUNDS)
    settings = {"batch": 1, "size_px": 32} if options.dry_run else {"batch": 4, "size_px": 224}
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {pair: [] for pair in itertools.product(networks, FORMS)}
    for _, (network, form) in itertools.product(range(rounds), runs):
        arguments = (network, form, settings["batch"], settings["size_px"])
        found = measure(*arguments) if options.dry_run else in_new_process(__name__, "measure", *arguments)
        runs[network, form].append(found)
    rows = []
    for (network, form), results in runs.items():
        torch.testing.assert_close(results[0]["logits"], runs[network, FORMS[0]][0]["logits"], atol=1e-3, rtol=1e-3)
        times = [1e3 * second for result in results for second in result["seconds"]]
        low, median, high = statistics.quantiles(times, n=4, method="inclusive")
        row = {"network": network, "form": form, "median_ms": median, "lower_quartile_ms": low}
        row |= {"upper_quartile_ms": high, "samples": len(times)}
        rows.append({**row, "peak_memory_mib": max(result["mib"] for result in results)})
    return Measured(rows, {**settings, "dtype": "float32", "task": "inference"})


def measure(network: str, form: str, batch: int, size: int) -> dict[str, Any]:
    """Return seconds per pass, MiB above the level before the first, and some logits to compare."""
    torch.manual_seed(0)
    model, x = timm.create_model(network).eval(), torch.randn(batch, 3, size, size)
    if form == "unfold":
        for layer in model.modules():
            if type(layer) in UNFOLDED:
                layer.forward = partial(UNFOLDED[type(layer)], layer)
    times: list[float] = []

    def passes() -> None:
        for _ in range(1 + PASSES):
            start = time.perf_counter()
            outputs.append(model(x))
            times.append(time.perf_counter() - start)

    outputs: list[Tensor] = []
    with torch.inference_mode():
        mib = peak_memory_mib(passes, torch.device("cpu"))
    return {"seconds": times[1:], "mib": mib, "logits": outputs[0][:, :3].flatten().tolist()}
