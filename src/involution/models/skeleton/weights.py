"""Initial weights of a network of timm's registry: from a file, or from the registry itself."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from involution.models.skeleton.registration import entrypoint
from involution.weights import differences, read_weights, to_ours

DEFAULT = "DEFAULT"
"""The weights that timm's registry has for a network; the name is torchvision's."""

LATER = "LATER"
"""Builds the architecture only: its weights are loaded later, from a checkpoint for example."""

SHOWN = 6
"""Differences that an error lists."""


def load_weights(network: nn.Module, name: str, weights: str | Path, **options: Any) -> None:
    """Load weights into a network that `timm.create_model(name, **options)` has returned.

    Args:
        network: whose parameters and buffers are replaced.
        name: of the network in timm's registry.
        weights: a file of a state dict, a training checkpoint or safetensors; or `DEFAULT`.
        options: with which the network was created.

    Raises:
        ValueError: there is no such file, the registry has no weights, or weights and network do not match.
    """
    overlay = None if weights == DEFAULT else _overlay(Path(weights), name, options)
    try:
        with torch.random.fork_rng(devices=[]):
            source = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except RuntimeError as error:
        raise ValueError(f"weights: expected weights of {name}, got {weights} ({error})") from None
    network.load_state_dict(source.state_dict())


def _overlay(path: Path, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return timm's description of the weights in a file that matches the network completely."""
    with torch.device("meta"):
        whole = timm.create_model(name, **{**options, "features_only": False, "out_indices": None})
    state = to_ours(read_weights(path, "weights").weights).weights
    if convert := getattr(sys.modules[entrypoint(name).__module__], "checkpoint_filter_fn", None):
        state = convert(state, whole)
    config: Any = whole.pretrained_cfg
    classifier, first = _names(config.get("classifier")), _names(config.get("first_conv"))
    optional = {key for key in {*whole.state_dict(), *state} if _optional(key, classifier)}
    # timm adapts the input channels of the first convolution.
    ours = {
        key: value for key, value in whole.state_dict().items() if key not in optional and _parent(key) not in first
    }
    theirs = {key: value for key, value in state.items() if key not in optional and _parent(key) not in first}
    if found := differences(ours, theirs):
        shown = "; ".join(found[:SHOWN]) + ("; …" if len(found) > SHOWN else "")
        raise ValueError(f"weights: expected all weights of {name}, got {path}, in which {len(found)} differ: {shown}")
    heads = [value for key, value in state.items() if _parent(key) in classifier]
    return {"state_dict": state, "num_classes": len(heads[0]) if heads else 0, "label_offset": 0}


def _optional(key: str, classifier: Collection[str]) -> bool:
    """Return whether an entry may differ: a classifier of other classes is replaced, batch counters are reset."""
    return _parent(key) in classifier or key.endswith("num_batches_tracked")


def _parent(key: str) -> str:
    return key.rpartition(".")[0]


def _names(modules: str | Collection[str] | None) -> tuple[str, ...]:
    return (modules,) if isinstance(modules, str) else tuple(modules or ())
