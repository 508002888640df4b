"""Which RedNet, detector or segmentor weights belong to, and networks with weights of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from involution.models.counting.complexity import BUILDERS, build
from involution.models.skeleton.options import check_options
from involution.models.skeleton.trunk import DEPTHS, MID_WIDTHS
from involution.weights import require_fit, to_ours

REDNETS = tuple(f"rednet{depth}" for depth in DEPTHS)

# For every kind of network: a parameter name that is unique to it, and the prefix of the names of its backbone.
_KINDS = {
    "mask_rcnn": ("roi_heads.mask_predictor.", "backbone.body.body."),
    "faster_rcnn": ("rpn.head.", "backbone.body.body."),
    "retinanet": ("head.classification_head.", "backbone.body.body."),
    "semantic_fpn": ("decode_head.scale_heads.", "backbone.body."),
    "upernet": ("decode_head.psp_modules.", "backbone.body."),
    "": ("", ""),
}
_ANCHORS = 9  # of RetinaNet at every pixel


def recognize(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Return name and options of the network that weights belong to, found from their names and shapes.

    Args:
        weights: under our names; of a classifier, a backbone alone, a detector or a segmentor.

    Returns:
        The name as `build` and `create` take it, such as "mask_rcnn/rednet50/involution/convolution", and the options
        that differ between releases. A backbone alone is a classifier with `num_classes` 0. The name is "" if the
        weights are of another network.

    >>> network = timm.create_model("rednet38", num_classes=7)
    >>> recognize(network.state_dict())
    ('rednet38', {'in_chans': 3, 'num_classes': 7, 'stem_kernel_size': 3})
    """
    kind, prefix = next((k, p) for k, (mark, p) in _KINDS.items() if any(name.startswith(mark) for name in weights))
    backbone = _depth(weights, prefix)
    if not backbone:
        return "", {}
    options: dict[str, Any] = {}
    if span := _rows(weights, f"{prefix}stem.1.conv2.conv.weight"):
        options["stem_kernel_size"] = isqrt(span // (_rows(weights, f"{prefix}stem.0.conv.weight") // 16))
    else:
        options["stem"] = "deep" if f"{prefix}stem.1.conv.weight" in weights else "conv"
    if (factor := _rows(weights, f"{prefix}layer1.0.conv1.weight") / MID_WIDTHS[0]) not in (0, 1):
        options["width_factor"] = factor
    if not kind:
        channels = _rows(weights, "stem.0.conv.weight", axis=1) or _rows(weights, "stem.conv.weight", axis=1)
        return backbone, {"in_chans": channels, "num_classes": _rows(weights, "fc.weight"), **options}
    parts, dense = _DENSE[kind](weights)
    if min(dense.values()) < 1:
        return "", {}
    return "/".join((kind, backbone, *parts)), {**dense, **options}


def create(name: str, options: Mapping[str, Any], argument: str = "model") -> nn.Module:
    """Return a network with random weights.

    Args:
        name: `rednet50`; or of a detector or segmentor as `involution profile` takes it,
            `mask_rcnn/rednet50/involution`.
        options: of the network.
        argument: that errors are about.

    Raises:
        ValueError: there is no such network with involutions, or it takes no such options.
    """
    kind, *parts = name.split("/")
    backbone = parts[0] if parts else kind
    if backbone not in REDNETS or (parts and kind not in BUILDERS):
        kinds = " | ".join(BUILDERS)
        raise ValueError(f"{argument}: expected a network of {', '.join(REDNETS)}, or {kinds}/NETWORK, got {name!r}")
    check_options(options)
    try:
        return BUILDERS[kind](*parts, **options) if parts else timm.create_model(name, **options)
    except TypeError as error:
        raise ValueError(f"{argument}: expected arguments of {name}, got {dict(options)} ({error})") from None


def restore(weights: Mapping[str, Tensor], source: str | Path, argument: str = "checkpoint") -> tuple[nn.Module, str]:
    """Return the network that weights belong to, with these weights, and its name.

    Args:
        weights: of any release.
        source: of the weights, for errors.
        argument: that errors are about.

    Raises:
        ValueError: they belong to no network of ours, or do not fit it. No memory is allocated for the network then.
    """
    ours = to_ours(weights).weights
    name, options = recognize(ours)
    if not name:
        raise ValueError(f"{argument}: expected weights of {', '.join(REDNETS)}, got {source} with others")
    require_fit(build(name, **options), ours, source, argument)
    network = create(name, options, argument)
    network.load_state_dict(ours)
    return network, name


def _depth(weights: Mapping[str, Tensor], prefix: str) -> str:
    span = re.compile(re.escape(prefix) + r"layer(\d)\.(\d+)\.conv2\.conv2\.conv\.weight")
    blocks = [0, 0, 0, 0]
    for found in filter(None, map(span.fullmatch, weights)):
        if 1 <= int(found[1]) <= 4:
            blocks[int(found[1]) - 1] += 1
    return next((f"rednet{depth}" for depth, plan in DEPTHS.items() if plan == tuple(blocks)), "")


def _rows(weights: Mapping[str, Tensor], name: str, axis: int = 0) -> int:
    value = weights.get(name)
    return value.shape[axis] if value is not None and value.ndim > axis else 0


def _layer(weights: Mapping[str, Tensor], name: str) -> str:
    return "involution" if f"{name}.conv2.conv.weight" in weights else "convolution"


def _detector(weights: Mapping[str, Tensor]) -> tuple[list[str], dict[str, Any]]:
    parts = [_layer(weights, "backbone.fpn.layer_blocks.0.0"), _layer(weights, "rpn.head.conv")]
    classes = _rows(weights, "roi_heads.box_predictor.cls_score.weight")
    return parts, {"num_classes": classes, "channels": _rows(weights, "backbone.fpn.inner_blocks.0.0.weight")}


def _retinanet(weights: Mapping[str, Tensor]) -> tuple[list[str], dict[str, Any]]:
    classes = _rows(weights, "head.classification_head.cls_logits.weight") // _ANCHORS + 1
    channels = _rows(weights, "backbone.fpn.inner_blocks.0.0.weight")
    return [_layer(weights, "backbone.fpn.layer_blocks.0.0")], {"num_classes": classes, "channels": channels}


def _semantic_fpn(weights: Mapping[str, Tensor]) -> tuple[list[str], dict[str, Any]]:
    return [_layer(weights, "neck.layer_blocks.0.0")], {
        "num_classes": _rows(weights, "decode_head.conv_seg.weight"),
        "channels": _rows(weights, "neck.inner_blocks.0.0.weight"),
        "head_channels": _rows(weights, "decode_head.conv_seg.weight", axis=1),
    }


def _upernet(weights: Mapping[str, Tensor]) -> tuple[list[str], dict[str, Any]]:
    return [_layer(weights, "decode_head.fpn_convs.0.layer")], {
        "num_classes": _rows(weights, "decode_head.conv_seg.weight"),
        "channels": _rows(weights, "decode_head.conv_seg.weight", axis=1),
        "auxiliary_channels": _rows(weights, "auxiliary_head.conv_seg.weight", axis=1),
    }


_DENSE = {
    "mask_rcnn": _detector,
    "faster_rcnn": _detector,
    "retinanet": _retinanet,
    "semantic_fpn": _semantic_fpn,
    "upernet": _upernet,
}
