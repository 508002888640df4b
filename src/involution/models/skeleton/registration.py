"""Entries of timm's registry: how to build a network and how to preprocess images for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

import timm
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def create(network: Callable[..., Network], name: str, pretrained: bool, **kwargs: Any) -> Network:
    """Create a network with four feature maps through timm's model builder.

    Args:
        network: class or function that returns the network.
        name: of the network in the registry.
        pretrained: load weights; our networks have none to download, so `pretrained_cfg_overlay` must name a file.
        kwargs: passed to `build_model_with_cfg`, which passes those that it does not know to `network`.
    """
    features = {"out_indices": (0, 1, 2, 3)}
    model: Network = build_model_with_cfg(network, name, pretrained, feature_cfg=features, **kwargs)
    return model


def configurations(names: Iterable[str], first_conv: str, **kwargs: Any) -> dict[str, Any]:
    """Return timm's default configurations of networks that have no released weights in its registry.

    The preprocessing is that of the released classifiers: short side to 256 pixels, center crop of 224.

    Args:
        names: of the networks.
        first_conv: name of the first convolution.
        kwargs: further entries, such as `min_input_size`.
    """
    preprocessing = {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bilinear",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": first_conv,
        "classifier": "fc",
        "license": "mit",
        **kwargs,
    }
    cfgs: dict[str, Any] = generate_default_cfgs({f"{name}.untrained": preprocessing for name in names})
    return cfgs


def entrypoint(name: str, argument: str = "name") -> Callable[..., nn.Module]:
    """Return the function that builds the network `name` of timm's registry.

    Args:
        name: of the network, with or without a tag.
        argument: that an error names.

    Raises:
        ValueError: there is no such network.
    """
    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=4)
        hint = f"; close matches: {', '.join(close)}" if close else ""
        raise ValueError(f"{argument}: expected a network of timm's registry, got {name!r}{hint}")
    return timm.model_entrypoint(name)
