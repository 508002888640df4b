"""Random blocks and stems, computed by one operator, and expected values layer by layer in float64."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.correctness.drawn import place
from involution.layers import Involution2d
from involution.models.fused import FusedBottleneck, FusedStem, is_fusable, is_fusable_stem
from involution.models.rednet import RedNet
from involution.models.skeleton.trunk import Bottleneck

DTYPES = {"float32": 1e-5, "bfloat16": 5e-2}
"""Largest error allowed, relative to the largest value of the output."""


@dataclass(frozen=True)
class Case:
    """A block or stem and its input."""

    kind: str  # block, block in place, or stem
    dtype: str
    threads: int
    memory: str
    batch: int
    channels: int
    mid: int
    out: int
    projection: bool
    group_channels: int
    size: tuple[int, int]
    window: tuple[int, int]
    stride: int
    dilation: int
    seed: int


def draw(seed: int) -> Case:
    """Draw the case of a seed."""
    choose = random.Random(seed)
    kind = choose.choice(["block", "block", "block", "block in place", "block in place", "stem"])
    in_place, mid = kind == "block in place", 16 * choose.choice([1, 2, 3, 4, 5, 8, 16])
    stride = 1 if in_place else choose.choice([1, 1, 2, 3])
    channels = choose.choice([1, 2, 3, 3, 4, 5]) if kind == "stem" else 16 * choose.choice([1, 2, 4, 7, 8, 16])
    out = channels if in_place or choose.random() < 0.4 else 16 * choose.choice([1, 4, 5, 8, 16])
    k = choose.choice([1, 3, 5, 7, 7, 7, 9])
    return Case(
        kind=kind,
        dtype=choose.choice(list(DTYPES)),
        threads=choose.choice([1, 2, 3, 7]),
        memory=choose.choice(["contiguous", "channels_last", "channels_last", "sliced", "transposed"]),
        batch=choose.choice([1, 1, choose.randint(2, 17)]),
        channels=channels,
        mid=mid,
        out=out,
        projection=not in_place and (stride > 1 or out != channels or choose.random() < 0.3),
        group_channels=choose.choice([16, 16, 16, mid]),
        size=(choose.randint(1, 40), choose.randint(1, 40)),
        window=choose.choice([(k, k), (k, k), (k, 3)]),
        stride=stride,
        dilation=choose.choice([1, 1, 1, 2, 4]),
        seed=seed,
    )


def made(case: Case) -> nn.Sequential:
    """Return the layers in eval mode, with random norms and biases."""
    if case.kind == "stem":
        net = RedNet(26, stem_kernel_size=case.window[1], in_chans=case.channels, num_classes=0)
        layers, mixer = nn.Sequential(net.stem, net.maxpool), net.stem[1]  # type: ignore[index]
    else:
        mixer = Involution2d(case.mid, case.window, case.stride, case.dilation, case.group_channels)
        shortcut = None
        if case.projection:
            conv = nn.Conv2d(case.channels, case.out, 1, case.stride, bias=False)
            shortcut = nn.Sequential(conv, nn.BatchNorm2d(case.out))
        block = Bottleneck(case.channels, case.mid, case.out, mixer, shortcut, 0.0, nn.BatchNorm2d, nn.ReLU)
        layers = nn.Sequential(block)
    for module in layers.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    nn.init.normal_(mixer.conv2.conv.bias)
    return layers.eval()


def computed(case: Case, layers: nn.Sequential, x: Tensor) -> Tensor:
    """Return the output of the operator. `x` is overwritten if the block is computed in place."""
    if case.kind == "stem":
        stem = layers[0]
        assert is_fusable_stem(stem, layers[1])
        y: Tensor = FusedStem(stem)(x)
        return y
    block = layers[0]
    assert is_fusable(block)
    fused = FusedBottleneck(block)
    fused.inplace = case.kind == "block in place"
    y = fused(x)
    return y


@torch.no_grad()
def errors(case: Case) -> dict[str, float]:
    """Return the error relative to the tolerance of the dtype; values above 1 are failures."""
    before = torch.get_num_threads()
    torch.manual_seed(case.seed)
    dtype = getattr(torch, case.dtype)
    layers, x = made(case).to(dtype), torch.randn(case.batch, case.channels, *case.size).to(dtype)
    kept = place(x.clone(), case.memory)  # a block in place overwrites it
    torch.set_num_threads(case.threads)
    got = computed(case, layers, kept)
    torch.set_num_threads(before)
    expected = layers.double()(x.double())
    if got.shape != expected.shape or got.dtype != dtype:
        return {"y": float("inf")}
    found = (got.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-6) / DTYPES[case.dtype]
    changed = case.kind != "block in place" and not torch.equal(kept, x)
    return {"y": float("inf") if changed else float(found.nan_to_num(nan=float("inf")))}


def describe(case: Case) -> dict[str, Any]:
    """Return the case as JSON-serializable values."""
    return asdict(case)
