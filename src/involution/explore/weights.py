"""Networks by name and from checkpoints, without running any code that a file may bring.

A checkpoint names its network; it is believed only as far as our own networks and their plain arguments go, and its
weights must fit in number and shape before a network of that size is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.data import ImageNetInfo
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from involution.explore.design import REDNETS, create, describe
from involution.explore.network import Network
from involution.models.counting.complexity import BUILDERS
from involution.models.detection import DETECTORS
from involution.models.rednet import checkpoint_filter_fn
from involution.models.skeleton.trunk import DEPTHS

LARGEST = 1024  # pixels, of the short side that a checkpoint may ask for
DENSE = 320  # pixels, of the short side that detectors and segmentors are shown: enough for pictures


def load_network(name: str | None, checkpoint: str | Path | None = None) -> Network:
    """Return a network with the weights of a checkpoint, or random ones.

    Args:
        name: of a network, as `involution.explore.design.create` takes it; None is that of the checkpoint.
        checkpoint: of `involution fit`; or weights alone, ours or the released ones, of PyTorch or as safetensors.

    Raises:
        ValueError: there is no such network, or a file that is not its checkpoint.

    >>> network = load_network("rednet26")
    >>> network.size, network.classes
    (224, [])
    """
    if checkpoint is None:
        if name is None:
            raise ValueError("model: expected the name of a network or a checkpoint, got neither")
        return _network(create(name, {}, "model"), name, {})
    saved = _read(Path(checkpoint))
    facts = _facts(saved, checkpoint)
    weights = _weights(saved)
    if facts:
        own, options = describe(facts)
    else:
        weights = checkpoint_filter_fn(weights, nn.Module())  # released ones have other names
        own, options = _recognize(weights), {"num_classes": len(weights.get("fc.weight", range(1000)))}
    if not own:
        raise ValueError(f"checkpoint: expected weights of {', '.join(REDNETS)}, got {checkpoint} with others")
    if name is not None and name != own:
        raise ValueError(f"model: expected {own!r} as in the checkpoint, got {name!r}")
    _fit(create(own, options, "checkpoint", allocate=False), weights, checkpoint)
    model = create(own, options, "checkpoint")
    model.load_state_dict(weights)
    return _network(model, own, facts)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"checkpoint: expected a file, got {path}, which does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise ValueError("checkpoint: expected the package safetensors to read this file, got none") from None
    except Exception:  # what a broken file makes the readers raise is of almost any kind
        raise ValueError(f"checkpoint: expected weights and no code, got {path}, which is another file") from None
    if not isinstance(saved, dict):
        raise ValueError(f"checkpoint: expected weights by name, got {path}, which is another file")
    return saved


def _weights(saved: Mapping[str, Any]) -> dict[str, Tensor]:
    state = saved.get("state_dict", saved)
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)} if isinstance(state, Mapping) else {}
    return {str(k).removeprefix("net."): v for k, v in tensors.items()}


def _facts(saved: Mapping[str, Any], source: Path | str) -> Mapping[str, Any]:
    """Return what a checkpoint of `involution fit` says of itself, or nothing if it is weights alone."""
    match saved.get("hyper_parameters"):
        case None:
            return {}
        case {"network": str(), "classes": list(), "eval_transform": dict(eval_transform)} as facts:
            resize, channels = eval_transform.get("resize", DENSE), eval_transform.get("channels", 3)
            if isinstance(resize, int) and 1 <= resize <= LARGEST and channels in (1, 3):
                return {**facts, "eval_transform": {"resize": resize, "channels": channels}}
    raise ValueError(f"checkpoint: expected the classes and eval_transform of `involution fit`, got {source} without")


def _recognize(weights: Mapping[str, Tensor]) -> str:
    """Return the name of the RedNet that these weights belong to, or "" if they are of another network."""
    blocks = [re.fullmatch(r"layer(\d)\.(\d+)\.conv2\.conv2\.conv\.weight", key) for key in weights]
    depths = [max((int(m[2]) + 1 for m in blocks if m and m[1] == str(stage)), default=0) for stage in range(1, 5)]
    return next((f"rednet{depth}" for depth, known in DEPTHS.items() if known == tuple(depths)), "")


def _fit(model: nn.Module, weights: Mapping[str, Tensor], source: Path | str) -> None:
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    got = {k: tuple(v.shape) for k, v in weights.items()}
    if wrong := sorted(k for k in expected.keys() | got.keys() if expected.get(k) != got.get(k)):
        first = wrong[0]
        raise ValueError(
            f"checkpoint: expected the weights of the network, got {source}, in which {len(wrong)} differ: {first} "
            f"is {got.get(first, 'missing')}, not {expected.get(first, 'there')}"
        )


def _network(model: nn.Module, name: str, facts: Mapping[str, Any]) -> Network:
    kind = name.split("/")[0]
    eval_transform = facts.get("eval_transform") or {"resize": DENSE if kind in BUILDERS else 224, "channels": 3}
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN
    std: Sequence[float] = IMAGENET_DEFAULT_STD
    if kind in DETECTORS:
        mean, std = (0.0,) * 3, (1.0,) * 3  # they normalize themselves
    elif eval_transform["channels"] == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return Network(model, eval_transform["resize"], mean, std, _in_words(facts.get("classes") or ()))


def _in_words(classes: Any) -> list[str]:
    """Return names of classes, those of WordNet in words."""
    if not all(re.fullmatch(r"n\d{8}", str(name)) for name in classes):
        return [str(name) for name in classes]
    known = ImageNetInfo("imagenet-12k")
    descriptions = dict(zip(known.label_names(), known.label_descriptions(), strict=True))
    return [descriptions.get(name, name).partition(",")[0] for name in classes]
