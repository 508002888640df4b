"""Time and peak memory of local attention: our operator against the same networks written with unfold.

    python benchmarks/local_attention.py

One forward pass on CPU, batch 4, 224 x 224. Each measurement has a process of its own, in which memory is counted from
before the first pass; the forms alternate. Writes results/measured/local-attention-infer-fp32-batch4-cpu.json and fills
the tables.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import tables
import timm
import torch
from local_attention_tables import MEASURED
from torch import Tensor, nn
from torch.nn import functional as F

import involution.models  # noqa: F401  (registers the networks)
from involution.layers.attention.san import SANPairwise2d
from involution.layers.attention.standalone import StandAlone2d

NETWORKS = ("resnet26_standalone", "san10_pairwise")
FORMS = ("operator", "unfold")
ROUNDS, PASSES = 2, 4


def standalone_unfolded(layer: StandAlone2d, x: Tensor) -> Tensor:
    """Return what the layer returns, from copies of the windows of keys and values."""
    geometry: dict[str, Any] = {"padding": layer.padding, "dilation": layer.dilation}
    query = layer.query(x).flatten(2).unflatten(1, (layer.heads, -1))  # [B, heads, d, H·W]
    key, value = (
        F.unfold(part(x), layer.kernel_size, **geometry).unflatten(1, (layer.heads, query.shape[2], -1))
        for part in (layer.key, layer.value)
    )  # [B, heads, d, K·K, H·W]
    assert layer.rows is not None and layer.columns is not None
    kh, kw = layer.kernel_size
    position = torch.cat([layer.rows[:, :, None].expand(-1, -1, kw), layer.columns[:, None].expand(-1, kh, -1)])
    logits = torch.einsum("bhdp,bhdop->bhop", query, key)
    logits += torch.einsum("bhdp,do->bhop", query, position.flatten(1))
    outside = F.unfold(torch.ones_like(x[:1, :1]), layer.kernel_size, **geometry) == 0
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


def measure(network: str, form: str) -> dict[str, Any]:
    """Return seconds per pass, MiB above the level before the first, and some logits to compare."""
    torch.manual_seed(0)
    model, x = timm.create_model(network).eval(), torch.randn(4, 3, 224, 224)
    if form == "unfold":
        for layer in model.modules():
            if type(layer) in UNFOLDED:
                layer.forward = partial(UNFOLDED[type(layer)], layer)
    before, times = peak(), []
    with torch.inference_mode():
        for _ in range(1 + PASSES):
            start = time.perf_counter()
            y = model(x)
            times.append(time.perf_counter() - start)
    return {"seconds": times[1:], "mebibytes": peak() - before, "logits": y[:, :3].flatten().tolist()}


def peak() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure every network in both forms, compare their outputs, write."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {(n, form): [] for n in NETWORKS for form in FORMS}
    for _ in range(ROUNDS):
        for network, form in runs:
            command = [sys.executable, __file__, "--measure", network, form]
            runs[network, form].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    rows = []
    for (network, form), found in runs.items():
        torch.testing.assert_close(found[0]["logits"], runs[network, "operator"][0]["logits"], atol=1e-3, rtol=1e-3)
        seconds = [second for run in found for second in run["seconds"]]
        row = {"seconds": statistics.median(seconds), "spread": [min(seconds), max(seconds)]}
        rows.append({"model": network, "form": form, **row, "mebibytes": max(run["mebibytes"] for run in found)})
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=tables.ROOT)
    machine = {"processor": processor(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    record = {
        "command": "python benchmarks/local_attention.py",
        "commit": commit.stdout.strip(),
        **machine,
        "rows": rows,
    }
    MEASURED.write_text(json.dumps(record, indent=1) + "\n")
    tables.write()


def processor() -> str:
    """Return the name of the processor."""
    with open("/proc/cpuinfo") as lines:
        names = [line.partition(": ")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs=2, metavar=("NETWORK", "FORM"), help="print one measurement as JSON")
    chosen = parser.parse_args().measure
    if chosen:
        print(json.dumps(measure(*chosen)))
    else:
        main()
