"""Names of weights in other releases, and ours: one table, used in both directions.

The released code is built on OpenMMLab's frameworks (mmcls, mmdet, mmseg); the Paddle port follows its names. Ours are
those of timm and torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_STATISTICS = {"_mean": "running_mean", "_variance": "running_var"}  # in Paddle, and in PyTorch
_STEM_AND_STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Renamed:
    """Weights under other names.

    Args:
        weights: by their new name.
        sources: the name in the file for every new name; "" for tensors that are not in the file.
        notes: other changes to a tensor, by its new name.
        release: naming scheme of the file: "official", "paddle" or "involution".
    """

    weights: dict[str, Tensor]
    sources: dict[str, str]
    notes: dict[str, str]
    release: str


def _same(official: str, ours: str) -> dict[str, str]:
    return {f"{official}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}


def _local(convolution: str, involution: str, ours: str) -> dict[str, str]:
    """A layer that is a convolution or an involution; the two have different module paths in the official release."""
    generator = {f"{involution}.{part}": f"{ours}.{part}" for part in ("conv1", "conv2")}
    return {**_same(convolution, ours), **generator}


def _pyramid(ours: str, levels: int) -> dict[str, str]:
    table: dict[str, str] = {}
    for i in range(levels):
        table |= _same(f"neck.lateral_convs.{i}.conv", f"{ours}.inner_blocks.{i}.0")
        table |= _local(f"neck.fpn_convs.{i}.conv", f"neck.fpn_convs.{i}", f"{ours}.layer_blocks.{i}.0")
    return table


def _body(ours: str) -> dict[str, str]:
    return {f"backbone.{part}": f"{ours}{part}" for part in _STEM_AND_STAGES}


_CLASSIFIER = {**_body(""), "head.fc": "fc"}

_BOXES = {
    **_body("backbone.body.body."),
    **_pyramid("backbone.fpn", 4),
    **_local("rpn_head.rpn_conv", "rpn_head.rpn_conv", "rpn.head.conv"),
    "rpn_head.rpn_cls": "rpn.head.cls_logits",
    "rpn_head.rpn_reg": "rpn.head.bbox_pred",
    "roi_head.bbox_head.shared_fcs.0": "roi_heads.box_head.fc6",
    "roi_head.bbox_head.shared_fcs.1": "roi_heads.box_head.fc7",
    "roi_head.bbox_head.fc_cls": "roi_heads.box_predictor.cls_score",
    "roi_head.bbox_head.fc_reg": "roi_heads.box_predictor.bbox_pred",
}

_MASKS = {
    "roi_head.mask_head.upsample": "roi_heads.mask_predictor.conv5_mask",
    "roi_head.mask_head.conv_logits": "roi_heads.mask_predictor.mask_fcn_logits",
}
for _i in range(4):
    _there = f"roi_head.mask_head.convs.{_i}"
    _MASKS |= _local(f"{_there}.conv", f"{_there}.0", f"roi_heads.mask_head.{2 * _i}")

_RETINANET = {
    **_body("backbone.body.body."),
    **_pyramid("backbone.fpn", 3),
    "neck.fpn_convs.3.conv": "backbone.fpn.extra_blocks.convs.0",
    "neck.fpn_convs.4.conv": "backbone.fpn.extra_blocks.convs.1",
    **{f"bbox_head.cls_convs.{i}.conv": f"head.classification_head.conv.{i}.0" for i in range(4)},
    **{f"bbox_head.reg_convs.{i}.conv": f"head.regression_head.conv.{i}.0" for i in range(4)},
    "bbox_head.retina_cls": "head.classification_head.cls_logits",
    "bbox_head.retina_reg": "head.regression_head.bbox_reg",
}

_SEGMENTOR = {
    **_body("backbone.body."),
    **_pyramid("neck", 4),
    "decode_head": "decode_head",
    "auxiliary_head": "auxiliary_head",
}

# A key of the official release, a key of ours, and the table for networks that have either.
_TABLES = (
    ("bbox_head.retina_cls.weight", "head.classification_head.cls_logits.weight", _RETINANET),
    ("rpn_head.rpn_cls.weight", "rpn.head.cls_logits.weight", {**_BOXES, **_MASKS}),
    ("decode_head.conv_seg.weight", "decode_head.conv_seg.weight", _SEGMENTOR),
    ("backbone.stem.0.conv.weight", "fc.weight", _CLASSIFIER),
)

BACKGROUND = "roi_heads.box_predictor.cls_score"
"""Our box classifier, which has the background first, as torchvision's; mmdet's has it last."""


def to_ours(weights: Mapping[str, Tensor]) -> Renamed:
    """Return weights of any release under our names.

    Weights that already have our names, such as a backbone's, keep them. `net.`, in front of those of `involution fit`,
    is left out.
    """
    weights = {name.removeprefix("module.").removeprefix("net."): value for name, value in weights.items()}
    if any(name.endswith("._mean") for name in weights):
        return _from_paddle(weights)
    table = _table(weights, official=True)
    if table is None:
        return Renamed(dict(weights), {name: name for name in weights}, {}, "involution")
    return _rename(weights, table, 1, "official")


def to_official(weights: Mapping[str, Tensor]) -> Renamed:
    """Convert weights from our names to those of the official release; names of a backbone are the same."""
    table = _table(weights, official=False) or {}
    return _rename(weights, {ours: official for official, ours in table.items()}, -1, "involution")


def _table(weights: Mapping[str, Tensor], official: bool) -> dict[str, str] | None:
    for theirs, ours, table in _TABLES:
        if (theirs if official else ours) in weights:
            # Segmentors have their head under the same name in both; the backbone tells them apart.
            foreign = "backbone.body.stem.0.conv.weight" in weights
            return None if official and theirs == ours and foreign else table
    return None


def _rename(weights: Mapping[str, Tensor], table: Mapping[str, str], roll: int, release: str) -> Renamed:
    renamed, sources, notes = {}, {}, {}
    for name, value in weights.items():
        start = name
        while start and start not in table:
            start = start.rpartition(".")[0]
        new = table[start] + name[len(start) :] if start else name
        if BACKGROUND in (new.rpartition(".")[0], name.rpartition(".")[0]):
            value = value.roll(roll, 0)
            notes[new] = "background first" if roll > 0 else "background last"
        renamed[new], sources[new] = value, name
    return Renamed(renamed, sources, notes, release)


def _from_paddle(weights: Mapping[str, Tensor]) -> Renamed:
    """Paddle stores linear layers transposed, names statistics differently, and does not count batches."""
    renamed: dict[str, Tensor] = {}
    sources, notes = {}, {}
    for name, value in weights.items():
        norm, _, last = name.rpartition(".")
        new = f"{norm}.{_STATISTICS.get(last, last)}"
        if new == "fc.weight":
            value, notes[new] = value.T, "transposed"
        renamed[new], sources[new] = value, name
        if last == "_variance":
            count = f"{norm}.num_batches_tracked"
            renamed[count], sources[count], notes[count] = torch.zeros((), dtype=torch.int64), "", "added, 0"
    return Renamed(renamed, sources, notes, "paddle")
