"""Which networks can be looked into, by name, and the arguments that a stranger's checkpoint may give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from torch import nn

import involution.models  # noqa: F401  (registers the networks in timm)
from involution.models.counting.complexity import BUILDERS, build
from involution.models.detection import DETECTORS
from involution.models.skeleton.trunk import DEPTHS

REDNETS = tuple(f"rednet{depth}" for depth in DEPTHS)
"""Names of classifiers and backbones; other networks have no involutions."""

PARTS = ("convolution", "involution")  # of necks and heads

OPTIONS = {
    *("stem", "stem_kernel_size", "stem_stride", "kernel_size", "group_channels", "reduction_ratio", "drop_rate"),
    *("neck", "head", "channels", "head_channels", "auxiliary_channels", "frozen_stages", "norm_eval"),
    *("num_classes", "in_chans"),
}
"""Arguments that a checkpoint may set, to numbers and words. (Others of these networks fetch weights or read files.)"""


def create(name: str, options: Mapping[str, Any], argument: str, allocate: bool = True) -> nn.Module:
    """Return a network with random weights.

    Args:
        name: `rednet50`; or of a detector or segmentor as `involution profile` takes it,
            `mask_rcnn/rednet50/involution`.
        options: of the network.
        argument: that errors are about.
        allocate: false leaves the weights without memory.

    Raises:
        ValueError: there is no such network with involutions, or an option is not among `OPTIONS`.
    """
    *kind, backbone = name.split("/")[:2]
    known = backbone in REDNETS and not set(kind) - BUILDERS.keys() and not set(name.split("/")[2:]) - {*PARTS}
    if not known:
        kinds = " | ".join(BUILDERS)
        raise ValueError(f"{argument}: expected a network of {', '.join(REDNETS)}, or {kinds}/NETWORK, got {name!r}")
    given = {key: value for key, value in options.items() if value is not None}
    if wrong := {k: v for k, v in given.items() if k not in OPTIONS or not isinstance(v, int | float | str)}:
        raise ValueError(f"{argument}: expected options of {sorted(OPTIONS)}, got {wrong}")
    if not allocate:
        return build(name, **given)
    try:
        return BUILDERS[kind[0]](*name.split("/")[1:], **given) if kind else timm.create_model(name, **given)
    except TypeError as error:
        raise ValueError(f"{argument}: expected arguments of {name}, got {given} ({error})") from None


def describe(facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and options of the network that a checkpoint says it is of.

    Args:
        facts: the hyperparameters of a task; strings and lists where they should be.
    """
    kind = facts.get("detector") or facts.get("segmentor")
    classes = len(facts["classes"]) + (kind in DETECTORS)  # detectors count the background
    options = {**(facts.get("options") or {}), "num_classes": classes}
    options.pop("settings", None)  # of proposals and sizes; no weight depends on them
    if kind is None:
        options["in_chans"] = facts["eval_transform"]["channels"]
    return "/".join(str(part) for part in (kind, facts["network"]) if part), options
