"""RedNet-26 in int8 by post-training quantization, beside float32 and bfloat16.

Needs torchao, which no extra installs: `pip install torchao`. Its quantization of exported programs with the quantizer
for x86: weights per channel, activations per tensor, calibrated on random images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.timing import Work, interleaved
from involution.models import prepare

NAME = "rednet26"
COMPARED = 16  # images whose class is compared


@torch.no_grad()
def run(options: Options) -> Measured:
    """Quantize, compare logits and classes with float32, and time batch 1."""
    size, compared = (32, 1) if options.dry_run else (224, COMPARED)
    torch.manual_seed(0)
    network = _network()
    images = [torch.randn(1, 3, size, size).contiguous(memory_format=torch.channels_last) for _ in range(compared)]
    quantized, operators = _quantized(network, images[:4], lower=not options.dry_run)
    half = prepare(network).bfloat16()
    runtimes: dict[str, Callable[[Tensor], Tensor]] = {
        "eager": network,
        "prepared": prepare(network),
        "prepared, bfloat16": lambda x: half(x.bfloat16()).float(),
        "int8": quantized,
    }
    expected = [network(image) for image in images]
    compared_with_float = {label: _compare(expected, map(runtime, images)) for label, runtime in runtimes.items()}
    works: dict[str, Work] = {label: partial(runtime, images[0]) for label, runtime in runtimes.items()}
    times = interleaved(works, options.device, **options.timing(20.0))
    eager = times["eager"].median
    rows = [
        {"form": label, **found.row(), "ratio": found.median / eager, **compared_with_float[label]}
        for label, found in times.items()
    ]
    settings = {
        "network": NAME,
        "batch": 1,
        "size_px": size,
        "compared_images": compared,
        "torchao": version("torchao"),
    }
    return Measured(rows, {**settings, "reference": "eager", **operators})


def _network() -> nn.Module:
    """Return a network with norms that have seen images, none of which leaves out its block."""
    network = timm.create_model(NAME)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
    for _ in range(2):
        network.train()(torch.randn(4, 3, 64, 64))
    return network.eval().to(memory_format=torch.channels_last)


def _quantized(network: nn.Module, images: list[Tensor], lower: bool) -> tuple[Callable[[Tensor], Tensor], Row]:
    """Return the network in int8, and how many layers are quantized and how many involutions are not."""
    pt2e = "torchao.quantization.pt2e"
    steps = import_module(f"{pt2e}.quantize_pt2e")
    x86 = import_module(f"{pt2e}.quantizer.x86_inductor_quantizer")
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    observed = steps.prepare_pt2e(torch.export.export(network, (images[0],)).module(), quantizer)
    for image in images:
        observed(image)
    converted: Any = steps.convert_pt2e(observed)
    targets = Counter(str(node.target) for node in converted.graph.nodes)
    operators = {
        "quantized_layers": targets["quantized_decomposed.dequantize_per_channel.default"],
        "float_involutions": targets["involution.involution2d_spanned.default"],
    }
    if lower:  # to oneDNN's operators in int8; Inductor of torch 2.15 does not compile the result
        converted = import_module(f"{pt2e}.lowering").lower_pt2e_quantized_to_x86(converted, (images[0],))
    return converted, operators


def _compare(expected: list[Tensor], found: Any) -> Row:
    pairs = [(y, z.float()) for y, z in zip(expected, found, strict=True)]
    return {
        "relative_difference": sum(((z - y).norm() / y.norm()).item() for y, z in pairs) / len(pairs),
        "same_class": sum(bool(y.argmax() == z.argmax()) for y, z in pairs) / len(pairs),
    }
