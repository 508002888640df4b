"""The paper's detectors, based on torchvision's: any backbone, convolutions or involutions in neck and head.

Li et al., "Involution", CVPR 2021, section 4.2. Anchors, assignment, sampling, RoIAlign, losses, suppression and
resizing are torchvision's, with the settings of the released configurations. Images are a list of tensors
[3, H, W] in [0, 1] of any sizes. In training, detectors take a list of targets too and return a dictionary of losses;
otherwise a list of dictionaries of boxes (x₁, y₁, x₂, y₂ in pixels), labels and scores, and masks [N, 1, H, W] in
[0, 1].

Differences to the released detectors that no argument of torchvision removes: RoIAlign samples with an offset of half a
pixel (`aligned`); anchors are rounded to whole pixels; the box loss of Faster and Mask R-CNN is smooth below 1/9; the
best anchor of an object is assigned to it however small their overlap (at least 0.3 in the released RPN); in Mask R-CNN
the best proposal of an object is not assigned to it in addition; RetinaNet's losses are averaged per image and then
over images.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import singledispatch
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from involution.models.detection.config import CLASSES, DetectorConfig
from involution.models.detection.heads import (
    Anchors,
    BoxHead,
    BoxPredictor,
    MaskHead,
    MaskPredictor,
    RetinaNet,
    RetinaNetHead,
    RPNHead,
)
from involution.models.pyramid.backbones import Backbone
from involution.models.pyramid.fpn import ExtraConvolutions, FeaturePyramid, LastLevelMaxPool

BOX_WIDTH = 1024
LEVELS = ["0", "1", "2", "3"]  # for RoIAlign; the fifth level only serves large anchors
RATIOS = (0.5, 1.0, 2.0)
PROPOSALS, MASKS = 1000, 100  # per image, in the published counts


class PyramidBackbone(nn.Module):
    """Backbone and feature pyramid: [B, 3, H, W] → maps by level, finest first.

    Args:
        config: of the detector.
        first: the backbone's stage of the finest level.
        convolutions: add two extra levels with convolutions, instead of one by pooling.
    """

    def __init__(self, config: DetectorConfig, first: int = 0, convolutions: bool = False) -> None:
        super().__init__()
        stages = range(first, 4)
        self.body = Backbone(config.backbone, stages, config.frozen_stages, config.norm_eval, **config.options)
        widths, channels = self.body.channels, config.channels
        extra: ExtraFPNBlock = ExtraConvolutions(widths[-1], channels) if convolutions else LastLevelMaxPool()
        self.fpn = FeaturePyramid(widths, channels, config.neck, extra)
        self.out_channels = channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict((str(level), y) for level, y in enumerate(self.fpn(self.body(images))))


def faster_rcnn(
    backbone: str = "rednet50",
    neck: str = "convolution",
    head: str = "convolution",
    *,
    num_classes: int = CLASSES,
    weights: str | Path | None = None,
    **kwargs: Any,
) -> detection.FasterRCNN:
    """Build Faster R-CNN. Ren et al., NeurIPS 2015; with a feature pyramid, Lin et al., CVPR 2017.

    Args:
        backbone, neck, head, num_classes: see `DetectorConfig`.
        weights: of the backbone; see `involution.models.pyramid.backbones.Backbone.initialize`.
        kwargs: further fields of `DetectorConfig`, and arguments of the backbone.

    Raises:
        ValueError: there is no such backbone, neck, head or argument, or the weights do not match.

    >>> detector = faster_rcnn("rednet26", neck="involution", num_classes=3, settings={"min_size": 64}).eval()
    >>> sorted(detector([torch.rand(3, 64, 80)])[0])
    ['boxes', 'labels', 'scores']
    """
    config = DetectorConfig.of(backbone=backbone, neck=neck, head=head, num_classes=num_classes, **kwargs)
    body = PyramidBackbone(config)
    return _build(detection.FasterRCNN, body, _two_stage(config), config, weights)


def mask_rcnn(
    backbone: str = "rednet50",
    neck: str = "convolution",
    head: str = "convolution",
    *,
    num_classes: int = CLASSES,
    weights: str | Path | None = None,
    **kwargs: Any,
) -> detection.MaskRCNN:
    """Build Mask R-CNN, He et al., ICCV 2017. Arguments and errors are those of `faster_rcnn`."""
    config = DetectorConfig.of(backbone=backbone, neck=neck, head=head, num_classes=num_classes, **kwargs)
    given = {
        **_two_stage(config),
        "mask_roi_pool": MultiScaleRoIAlign(LEVELS, output_size=14, sampling_ratio=0),
        "mask_head": MaskHead(config.channels, head, config.mask_init),
        "mask_predictor": MaskPredictor(config.channels, num_classes, config.mask_init),
    }
    return _build(detection.MaskRCNN, PyramidBackbone(config), given, config, weights)


def retinanet(
    backbone: str = "rednet50",
    neck: str = "convolution",
    *,
    num_classes: int = CLASSES,
    weights: str | Path | None = None,
    **kwargs: Any,
) -> RetinaNet:
    """Build RetinaNet, Lin et al., ICCV 2017. Arguments and errors are those of `faster_rcnn`, without `head`.

    Labels start at 1 as in the other detectors, unlike those of torchvision's RetinaNet.
    """
    if "head" in kwargs:
        raise ValueError(f"head: expected no such argument for retinanet, got {kwargs['head']!r}")
    config = DetectorConfig.of(backbone=backbone, neck=neck, num_classes=num_classes, **kwargs)
    scales = [2 ** (third / 3) for third in range(3)]
    anchors = Anchors(
        tuple(tuple(4 * stride * scale for scale in scales) for stride in (8, 16, 32, 64, 128)), (RATIOS,) * 5
    )
    given = {
        "num_classes": num_classes - 1,
        "anchor_generator": anchors,
        "head": RetinaNetHead(config.channels, anchors.num_anchors_per_location()[0], num_classes - 1),
        "detections_per_img": 100,
    }
    return _build(RetinaNet, PyramidBackbone(config, first=1, convolutions=True), given, config, weights)


DETECTORS: dict[str, Callable[..., nn.Module]] = {
    "faster_rcnn": faster_rcnn,
    "mask_rcnn": mask_rcnn,
    "retinanet": retinanet,
}
"""The builders by the names in `involution profile` and in recipes."""


def _two_stage(config: DetectorConfig) -> dict[str, Any]:
    anchors = Anchors(tuple((8 * stride,) for stride in (4, 8, 16, 32, 64)), (RATIOS,) * 5)
    return {
        "rpn_anchor_generator": anchors,
        "rpn_head": RPNHead(config.channels, anchors.num_anchors_per_location()[0], config.head),
        "rpn_post_nms_top_n_train": PROPOSALS,
        "box_roi_pool": MultiScaleRoIAlign(LEVELS, output_size=7, sampling_ratio=0),
        "box_head": BoxHead(config.channels, 7, BOX_WIDTH),
        "box_predictor": BoxPredictor(BOX_WIDTH, config.num_classes),
    }


def _build(
    kind: Any, body: PyramidBackbone, given: dict[str, Any], config: DetectorConfig, weights: str | Path | None
) -> Any:
    body.body.initialize(weights)
    preprocessing = body.body.pretrained_cfg or {}
    given = {
        "image_mean": list(preprocessing.get("mean", IMAGENET_DEFAULT_MEAN)),
        "image_std": list(preprocessing.get("std", IMAGENET_DEFAULT_STD)),
        **given,
        **config.settings,
    }
    # torchvision's detectors pass unknown arguments to their transform, which ignores them.
    known = {*signature(kind.__init__).parameters, *signature(GeneralizedRCNNTransform.__init__).parameters}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"settings: expected arguments of torchvision's {kind.__name__}, got {', '.join(unknown)}")
    detector = kind(body, **given)
    detector.pretrained_cfg = {"mean": given["image_mean"], "std": given["image_std"]}
    return detector


@singledispatch
def sweep(network: nn.Module, images: Tensor) -> None:
    """Run every part of a network once on images of their final size, for counting.

    A detector then makes no decisions that depend on values: 1000 proposals go through the box head and 100 through the
    mask head, as in the counts of the released code.
    """
    network(images)


@sweep.register
def _(detector: detection.FasterRCNN, images: Tensor) -> None:
    levels = detector.backbone(images)
    detector.rpn.head(list(levels.values()))
    heads, channels = detector.roi_heads, detector.backbone.out_channels
    heads.box_predictor(heads.box_head(torch.empty(PROPOSALS, channels, 7, 7, device=images.device)))
    if heads.has_mask():
        heads.mask_predictor(heads.mask_head(torch.empty(MASKS, channels, 14, 14, device=images.device)))


@sweep.register
def _(detector: detection.RetinaNet, images: Tensor) -> None:
    detector.head(list(detector.backbone(images).values()))


def uncounted(network: nn.Module) -> list[nn.Module]:
    """Return the modules that the published FLOPs omit: the last two layers of a mask head of convolutions.

    The authors' framework replaces these two by its own classes, for which its counter has no rule. Its mask head of
    involutions uses PyTorch's classes, which are counted.
    """
    if not isinstance(network, detection.MaskRCNN):
        return []
    heads = network.roi_heads
    convolutions = isinstance(heads.mask_head[0], nn.Conv2d)
    return [heads.mask_predictor.conv5_mask, heads.mask_predictor.mask_fcn_logits] if convolutions else []
