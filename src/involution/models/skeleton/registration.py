"""What timm's registry must know of a network: how to build it and how to prepare images for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import timm
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn


def register(module: str, name: str, network: Callable[..., nn.Module], first_conv: str, **kwargs: Any) -> None:
    """Register a network without released weights in timm, and its builder `name` in the module that says so.

    Args:
        module: `__name__` of that module.
        name: in the registry.
        network: called with `kwargs` and with what the user of the registry gives, which goes before.
        first_conv: the first convolution of the network.
        kwargs: of `network`.
    """

    def build(pretrained: bool = False, **given: Any) -> nn.Module:
        features = {"out_indices": (0, 1, 2, 3)}
        return build_model_with_cfg(network, name, pretrained, feature_cfg=features, **{**kwargs, **given})

    home = sys.modules[module]
    build.__name__ = build.__qualname__ = name
    build.__module__ = module
    build.__doc__ = f"Build `{name}`: {', '.join(f'{key}={value!r}' for key, value in kwargs.items())}."
    setattr(home, name, build)
    cfgs = generate_default_cfgs({f"{name}.untrained": preprocessing(first_conv=first_conv)})
    vars(home).setdefault("default_cfgs", {}).update(cfgs)
    register_model(build)


def preprocessing(**kwargs: Any) -> dict[str, Any]:
    """Return the preprocessing of the released classifiers: short side to 256, centre crop of 224."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bilinear",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "classifier": "fc",
        "license": "mit",
        **kwargs,
    }


def entrypoint(name: str) -> Callable[..., nn.Module]:
    """Return what builds the network `name` of timm's registry.

    Raises:
        ValueError: there is none.
    """
    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=4)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise ValueError(f"name: expected a network of timm's registry, got {name!r}{hint}")
    return timm.model_entrypoint(name)
