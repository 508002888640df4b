"""Networks for the explorer, by name and from checkpoints; checkpoints may be untrusted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from timm.data import ImageNetInfo
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from involution.explore.network import Network
from involution.layers import Involution2d
from involution.models.counting.complexity import BUILDERS
from involution.models.detection import DETECTORS
from involution.models.recognition import create, restore
from involution.tasks import load_task
from involution.weights import read_weights

DENSE = 320  # pixels, short side of the images for detectors and segmentors: sufficient for pictures


def load_network(name: str | None, checkpoint: str | Path | None = None) -> Network:
    """Return a network with the weights of a checkpoint, or random ones.

    Args:
        name: of a network, as `involution.models.recognition.create` takes it; None is that of the checkpoint.
        checkpoint: of `involution fit`; or weights alone, ours or the released ones, in any format that
            `involution.weights` reads.

    Raises:
        ValueError: there is no such network, or the file is not its checkpoint.

    >>> network = load_network("rednet26")
    >>> network.size, network.classes
    (224, [])
    """
    if checkpoint is None:
        if name is None:
            raise ValueError("model: expected the name of a network or a checkpoint, got neither")
        return _network(create(name, {}), name)
    saved = read_weights(checkpoint)
    if saved.hparams is None:
        model, own = restore(saved.weights, checkpoint)
        network = _network(model, own)
    else:
        task = load_task(checkpoint, "checkpoint")
        kind = task.hparams.get("detector") or task.hparams.get("segmentor")
        own = "/".join(part for part in (kind, task.hparams["network"]) if part)
        # Detectors normalize themselves.
        mean, std = ([0.0] * 3, [1.0] * 3) if kind in DETECTORS else (task.mean.flatten(), task.std.flatten())
        size = getattr(task.eval_transform, "resize", DENSE)
        network = Network(task.net, size, list(map(float, mean)), list(map(float, std)), in_words(task.classes))
    if name is not None and any(a != b for a, b in zip(name.split("/"), own.split("/"), strict=False)):
        raise ValueError(f"model: expected {own!r} as in the checkpoint, got {name!r}")
    if not any(isinstance(module, Involution2d) for module in network.model.modules()):
        raise ValueError(f"checkpoint: expected a network with involutions, got {own} in {checkpoint}")
    return network


def _network(model: nn.Module, name: str) -> Network:
    """Return a network of which at most the weights are known."""
    kind, channels = name.split("/")[0], getattr(model, "in_chans", 3)
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN
    std: Sequence[float] = IMAGENET_DEFAULT_STD
    if kind in DETECTORS:
        mean, std = (0.0,) * 3, (1.0,) * 3
    elif channels == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return Network(model, DENSE if kind in BUILDERS else 224, mean, std)


def in_words(classes: Sequence[str]) -> list[str]:
    """Return names of classes; identifiers of WordNet are replaced by words."""
    if not all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return list(classes)
    known = ImageNetInfo("imagenet-12k")
    descriptions = dict(zip(known.label_names(), known.label_descriptions(), strict=True))
    return [descriptions.get(name, name).partition(",")[0] for name in classes]
