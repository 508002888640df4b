"""The CPU suite of speed.py: operator, layer and network against their rivals, both sides of every ratio in turns.

Each part is written to a file of its own, results/measured/speed-PART-cpu.json, or -plain-malloc.json.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from complexity_tables import key, published
from measure import ROOT, Timing, interleaved, machine, peak_memory, write
from rivals import compiled, shifted, unfolded, unfolded_network
from torch import Tensor, nn
from torch._inductor import config as inductor

from involution import Involution2d
from involution.models.counting.complexity import profile
from involution.ops import cpu

CPU = torch.device("cpu")
STAGES = ((64, 56), (128, 28), (256, 14), (512, 7))
WINDOW, PLAIN = [7, 7], ([1, 1], [3, 3], [1, 1])
LAYOUTS = {"channels last": torch.channels_last, "nchw": torch.contiguous_format}
ops = torch.ops.involution
Record = dict[str, Any]


def limits() -> Record:
    """Measure what the machine can do: multiply-adds in its best matrix product, and bytes in a copy."""
    a, big = torch.randn(2048, 2048), torch.empty(64 << 20)
    target = torch.empty_like(big)
    times = interleaved({"product": lambda: a @ a, "copy": lambda: target.copy_(big)}, CPU)
    return {
        "gmadds": 2048**3 / times["product"].median / 1e9,  # 10⁹ multiply-adds a second
        "copy_gb": 8 * big.numel() / times["copy"].median / 1e9,  # read and written
    }


def ratios(times: dict[str, Timing], of: str) -> Record:
    """Return every timing and how many times that of `of` it takes."""
    return {name: {**t.record(), "ratio": t.median / times[of].median} for name, t in times.items()}


def operator(batch: int = 16) -> Record:
    """Measure the three contractions and the spanned form at the four stages of RedNet-50."""
    peak, found = limits(), {}
    for channels, size in STAGES:
        groups, reduced = channels // 16, channels // 4
        aggregation = batch * channels * size * size * 49
        span = batch * size * size * groups * 49 * reduced
        for layout, memory_format in LAYOUTS.items():
            new = _images(batch, size, memory_format)
            x, grad, features, flat = new(channels), new(channels), new(reduced), new(groups * 49)
            kernel = flat.unflatten(1, (groups, 7, 7))
            weight, bias = torch.randn(groups * 49, reduced), torch.randn(groups * 49)
            spanned = (features, weight, bias, groups, WINDOW, *PLAIN)
            works = {
                "forward": (partial(ops.involution2d, x, kernel, *PLAIN), aggregation),
                "grad_x": (partial(ops.involution2d_grad_x, grad, kernel, [size, size], *PLAIN), aggregation),
                "grad_kernel": (partial(ops.involution2d_grad_kernel, grad, x, groups, WINDOW, *PLAIN), aggregation),
                "spanned": (partial(ops.involution2d_spanned, x, *spanned), aggregation + span),
                "spanned_backward": (
                    partial(ops.involution2d_spanned_backward, grad, x, *spanned),
                    2 * aggregation + 3 * span,
                ),
                "unfold": (partial(unfolded, x, kernel), aggregation),
            }
            if layout == "channels last":
                works["unfold, compiled"] = (partial(compiled(unfolded), x, kernel), aggregation)
                works["shifted sums, compiled"] = (partial(compiled(shifted), x, kernel), aggregation)
            times = interleaved({name: work for name, (work, _) in works.items()}, CPU)
            record = ratios(times, "forward")
            for name, (_, madds) in works.items():
                record[name]["of_peak"] = madds / times[name].median / 1e9 / peak["gmadds"]
            found[f"{channels}x{size}x{size}, {layout}"] = record
    return {"limits": peak, "batch": batch, "stages": found}


def layer(batch: int = 16) -> Record:
    """Measure the whole layer against the 3x3 convolution that it replaces."""
    found = {}
    for channels, size in STAGES:
        x = _images(batch, size, torch.channels_last)(channels)
        layers = {
            "convolution": nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            "involution": Involution2d(channels),
        }
        layers = {name: module.to(memory_format=torch.channels_last) for name, module in layers.items()}
        with torch.no_grad():
            inference = interleaved({n: partial(m.eval(), x) for n, m in layers.items()}, CPU)
        leaf = x.clone().requires_grad_()
        training = interleaved({n: partial(_there_and_back, m.train(), leaf) for n, m in layers.items()}, CPU)
        found[f"{channels}x{size}x{size}"] = {
            "inference": ratios(inference, "convolution"),
            "training": ratios(training, "convolution"),
        }
    return {"batch": batch, "stages": found}


NETWORKS = ("resnet50", "rednet50", "rednet26", "rednet38", "rednet101", "resnet101")
ORIENTATION = ("convnext_nano", "regnetx_032", "mobilenetv2_140")


def network() -> Record:
    """Measure inference of networks, eager and compiled with frozen weights, at batch 1 and 16."""
    peak, found = limits(), {}
    madds = {n: profile(n)["macs"] for n in (*NETWORKS, *ORIENTATION)}
    for batch in (1, 16):
        x = torch.randn(batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
        models = {n: _network(n).eval() for n in (*NETWORKS, *ORIENTATION)}
        with torch.no_grad():
            eager = {n: partial(m, x) for n, m in models.items()}
            eager["rednet50, unfold"] = partial(unfolded_network(_network("rednet50").eval()), x)
            found[f"eager, batch {batch}"] = ratios(interleaved(eager, CPU, seconds=3), "resnet50")
            with inductor.patch(freezing=True):
                frozen = {n: partial(compiled(models[n]), x) for n in ("resnet50", "rednet50", *ORIENTATION)}
                found[f"compiled, batch {batch}"] = ratios(interleaved(frozen, CPU, seconds=3), "resnet50")
            for mode in (found[f"eager, batch {batch}"], found[f"compiled, batch {batch}"]):
                for name in madds.keys() & mode.keys():
                    mode[name]["of_peak"] = batch * madds[name] / mode[name]["ms"] / 1e6 / peak["gmadds"]
    return {"limits": peak, "ratio_of": "resnet50", "madds": madds, "modes": found}


def runtime() -> Record:
    """Measure the networks of the paper's Table 2 as it did, one image at a time."""
    x = torch.randn(1, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    models = {key(row): _network(row["model"], **row.get("arguments", {})).eval() for row in published("table2")}
    with torch.no_grad():
        times = interleaved({n: partial(m, x) for n, m in models.items()}, CPU, seconds=3)
    return {"batch": 1, "networks": ratios(times, "resnet50_conv")}


def dtype() -> Record:
    """Measure bfloat16 inference against float32, and how far its logits are."""
    x = torch.randn(16, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    wide = _network("rednet50").eval()
    half = _network("rednet50").eval().bfloat16()
    half.load_state_dict(wide.state_dict())
    with torch.no_grad():
        times = interleaved({"float32": lambda: wide(x), "bfloat16": lambda: half(x.bfloat16())}, CPU, seconds=3)
        expected, got = wide(x), half(x.bfloat16()).float()
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    return {"network": "rednet50", "batch": 16, "times": ratios(times, "float32"), "largest_relative_error": error}


def scaling() -> Record:
    """Measure threads, batch sizes and a large image."""
    model = _network("rednet50").eval()
    x, kernel = _images(16, 56, torch.channels_last)(64), _images(16, 56, torch.channels_last)(196)
    images = {b: torch.randn(b, 3, 224, 224).contiguous(memory_format=torch.channels_last) for b in (4, 8, 16, 32, 64)}
    wide = torch.randn(1, 3, 512, 1024).contiguous(memory_format=torch.channels_last)
    features, weight = _images(16, 56, torch.channels_last)(16), torch.randn(196, 16)
    works = {
        "operator": lambda: ops.involution2d(x, kernel.unflatten(1, (4, 7, 7)), *PLAIN),
        "spanned": lambda: ops.involution2d_spanned(x, features, weight, None, 4, WINDOW, *PLAIN),
        "network": lambda: model(images[16]),
    }
    threads: Record = {}
    with torch.no_grad():
        for name, work in works.items():
            times = {}
            for count in (1, torch.get_num_threads()):
                with _threads(count):
                    times[count] = interleaved({name: work}, CPU, seconds=2)[name]
            threads[name] = {str(count): t.record() for count, t in times.items()}
            threads[name]["speedup"] = times[1].median / times[max(times)].median
        batches = interleaved({b: partial(model, i) for b, i in images.items()}, CPU, seconds=3)
        sizes = interleaved({"224x224": lambda: model(images[8]), "512x1024": lambda: model(wide)}, CPU, seconds=3)
    return {
        "works": threads,
        "ms_per_image": {str(b): 1e3 * t.median / b for b, t in batches.items()},
        "ns_per_pixel": {
            "224x224, batch 8": 1e9 * sizes["224x224"].median / (8 * 224 * 224),
            "512x1024, batch 1": 1e9 * sizes["512x1024"].median / (512 * 1024),
        },
    }


def training() -> Record:
    """Measure a training step at batch 16: time in turns, peak memory of each in a process of its own."""
    x, target = _step_inputs()
    models = {n: _network(n).train() for n in ("resnet50", "rednet50")}
    times = interleaved({n: partial(_step, m, x, target) for n, m in models.items()}, CPU, seconds=10)
    record = ratios(times, "resnet50")
    for name in ("resnet50", "rednet50", "rednet50 stored"):
        script = f"import speed_cpu; speed_cpu.print_memory({name!r})"
        run = subprocess.run(
            [sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
        record.setdefault(name, {})["peak_mib"] = float(run.stdout.split()[-1])
    return {"batch": 16, "networks": record}


def print_memory(name: str) -> None:
    """Print the MiB that two training steps take at their peak, in a process that has done nothing else."""
    model = _network(name.split()[0]).train()
    if name.endswith("stored"):
        for module in model.modules():
            if isinstance(module, Involution2d):
                module.forward = _stored(module)  # type: ignore[method-assign]
    inputs = _step_inputs()
    print(peak_memory(lambda: [_step(model, *inputs) for _ in range(2)], CPU))


def _stored(layer: Involution2d) -> Callable[[Tensor], Tensor]:
    """Return the layer's forward in the form that writes its kernels to memory."""
    return lambda x: ops.involution2d(x, layer.kernel(x), layer.stride, layer.padding, layer.dilation)


def _there_and_back(module: nn.Module, x: Tensor) -> None:
    module(x).sum().backward()


def _step_inputs() -> tuple[Tensor, Tensor]:
    x = torch.randn(16, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    return x, torch.randint(1000, (16,))


def _step(model: nn.Module, x: Tensor, target: Tensor) -> None:
    nn.functional.cross_entropy(model(x), target).backward()
    model.zero_grad()


def _network(name: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, **arguments)
    return model.to(memory_format=torch.channels_last)


def _images(batch: int, size: int, memory_format: torch.memory_format) -> Callable[[int], Tensor]:
    return lambda channels: torch.randn(batch, channels, size, size).contiguous(memory_format=memory_format)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


PARTS: dict[str, Callable[[], Record]] = {
    "operator": operator,
    "layer": layer,
    "network": network,
    "runtime": runtime,
    "training": training,
    "dtype": dtype,
    "scaling": scaling,
}


# glibc gives blocks of over 32 MiB back at once, and every page of the next one is zeroed anew: some microseconds a
# page, more than many layers take for it. Both sides of every ratio are measured with an allocator that keeps them.
KEEP = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


def keep_memory() -> None:
    """Start again with such an allocator, unless this is it."""
    if not KEEP.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **KEEP})


def run(names: list[str], out: Path | None = None, keep: bool = True) -> None:
    """Measure the parts and write each to its file; without `keep`, with the allocator as it comes."""
    if keep:
        keep_memory()
    suffix = "" if keep else "-plain-malloc"
    for name in names or PARTS:
        allocator = "glibc, keeping what is freed" if keep else "glibc"
        served = {"instruction_set": cpu.status()["instruction_set"], "allocator": allocator}
        record = {**machine(CPU), **served, **PARTS[name]()}
        path = (out or ROOT / "results" / "measured") / f"speed-{name}-cpu{suffix}.json"
        write(path, record)
        print(f"written: {path}")
