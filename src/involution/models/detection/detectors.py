"""Detectors of the paper on torchvision's: any backbone, and a convolution or an involution in neck and head.

Li et al., "Involution", CVPR 2021, section 4.2. Anchors, assignment, sampling, RoIAlign, losses, suppression and
resizing are torchvision's, set as in the released configurations. Images are a list of [3, H, W] in [0, 1] of any
sizes; in training a list of targets comes with them and a dictionary of losses back, otherwise a list of dictionaries
of boxes (x₁, y₁, x₂, y₂ in pixels), labels and scores, and masks [N, 1, H, W] in [0, 1].

What torchvision does otherwise, and no argument of it changes: RoIAlign samples half a pixel off (`aligned`); anchors
are rounded to whole pixels; the box loss of Faster and Mask R-CNN is smooth within 1/9; an anchor that is the best for
an object is its own however little they overlap (0.3 at least in the released RPN); in Mask R-CNN a proposal that is
the best for an object is not preferred to it; RetinaNet's losses are averaged per image and then over images.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import singledispatch
from inspect import signature
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from involution.models.detection.heads import BoxHead, BoxPredictor, MaskHead, MaskPredictor, RetinaNet, RPNHead
from involution.models.pyramid.backbones import create_backbone
from involution.models.pyramid.fpn import ExtraConvolutions, FeaturePyramid, LastLevelMaxPool

CLASSES = 81
"""Of COCO, with the background."""

BOX_WIDTH = 1024
LEVELS = ["0", "1", "2", "3"]  # that proposals are cut out of; the fifth serves large anchors alone
RATIOS = (0.5, 1.0, 2.0)
PROPOSALS, MASKS = 1000, 100  # per image, when counting


class PyramidBackbone(nn.Module):
    """Backbone and feature pyramid: [B, 3, H, W] → the levels by name, finest first.

    Args:
        name, frozen_stages, norm_eval, options: of `involution.models.pyramid.backbones.create_backbone`.
        neck, channels: of `FeaturePyramid`.
        first: the stage of the finest level.
        convolutions: make the two further levels with convolutions; otherwise one, by pooling.
    """

    def __init__(
        self,
        name: str,
        neck: str,
        channels: int,
        frozen_stages: int,
        norm_eval: bool,
        options: dict[str, Any],
        first: int = 0,
        convolutions: bool = False,
    ) -> None:
        super().__init__()
        self.body = create_backbone(name, range(first, 4), frozen_stages, norm_eval, **options)
        widths = self.body.channels
        extra: ExtraFPNBlock = ExtraConvolutions(widths[-1], channels) if convolutions else LastLevelMaxPool()
        self.fpn = FeaturePyramid(widths, channels, neck, extra)
        self.out_channels = channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict((str(level), y) for level, y in enumerate(self.fpn(self.body(images))))


def faster_rcnn(
    backbone: str = "rednet50",
    neck: str = "convolution",
    head: str = "convolution",
    num_classes: int = CLASSES,
    channels: int = 256,
    frozen_stages: int = 1,
    norm_eval: bool = True,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> detection.FasterRCNN:
    """Build Faster R-CNN. Ren et al., NeurIPS 2015; with a feature pyramid, Lin et al., CVPR 2017.

    Args:
        backbone: a network of timm's registry with four stages, ours or timm's.
        neck: the output layers of the pyramid, "convolution" or "involution".
        head: the layer in front of the proposals (and of Mask R-CNN's masks), "convolution" or "involution".
        num_classes: with the background, which is class 0.
        channels: of the pyramid.
        frozen_stages, norm_eval: what a pretrained backbone does not learn; see
            `involution.models.pyramid.backbones.Backbone`. From scratch: −1 and False.
        settings: arguments of torchvision's detector, such as `min_size`, that replace those of the paper.
        options: of the backbone, such as `pretrained=True` or `stem_kernel_size=3`.

    Raises:
        ValueError: there is no such backbone, neck or head, or one of the arguments does not exist.

    >>> detector = faster_rcnn("rednet26", neck="involution", num_classes=3, settings={"min_size": 64}).eval()
    >>> sorted(detector([torch.rand(3, 64, 80)])[0])
    ['boxes', 'labels', 'scores']
    """
    body = PyramidBackbone(backbone, neck, channels, frozen_stages, norm_eval, options)
    return _build(detection.FasterRCNN, body, _two_stage(body, head, num_classes), settings)


def mask_rcnn(
    backbone: str = "rednet50",
    neck: str = "convolution",
    head: str = "convolution",
    num_classes: int = CLASSES,
    channels: int = 256,
    frozen_stages: int = 1,
    norm_eval: bool = True,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> detection.MaskRCNN:
    """Build Mask R-CNN, He et al., ICCV 2017. Arguments and errors are those of `faster_rcnn`."""
    body = PyramidBackbone(backbone, neck, channels, frozen_stages, norm_eval, options)
    given = {
        **_two_stage(body, head, num_classes),
        "mask_roi_pool": MultiScaleRoIAlign(LEVELS, output_size=14, sampling_ratio=0),
        "mask_head": MaskHead(channels, head),
        "mask_predictor": MaskPredictor(channels, num_classes),
    }
    return _build(detection.MaskRCNN, body, given, settings)


def retinanet(
    backbone: str = "rednet50",
    neck: str = "convolution",
    num_classes: int = CLASSES,
    channels: int = 256,
    frozen_stages: int = 1,
    norm_eval: bool = True,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> RetinaNet:
    """Build RetinaNet, Lin et al., ICCV 2017. Arguments and errors are those of `faster_rcnn`; its head has no hole.

    Labels count from 1 as in the other detectors, unlike those of torchvision's RetinaNet.
    """
    body = PyramidBackbone(backbone, neck, channels, frozen_stages, norm_eval, options, first=1, convolutions=True)
    scales = [2 ** (third / 3) for third in range(3)]
    anchors = AnchorGenerator(
        tuple(tuple(4 * stride * scale for scale in scales) for stride in (8, 16, 32, 64, 128)), (RATIOS,) * 5
    )
    given = {
        "num_classes": num_classes - 1,
        "anchor_generator": anchors,
        "head": RetinaNetHead(channels, anchors.num_anchors_per_location()[0], num_classes - 1),
        "detections_per_img": 100,
    }
    return _build(RetinaNet, body, given, settings)


DETECTORS: dict[str, Callable[..., nn.Module]] = {
    "faster_rcnn": faster_rcnn,
    "mask_rcnn": mask_rcnn,
    "retinanet": retinanet,
}
"""The builders by the names that `involution profile` and recipes know."""


def _two_stage(body: PyramidBackbone, head: str, num_classes: int) -> dict[str, Any]:
    anchors = AnchorGenerator(tuple((8 * stride,) for stride in (4, 8, 16, 32, 64)), (RATIOS,) * 5)
    return {
        "rpn_anchor_generator": anchors,
        "rpn_head": RPNHead(body.out_channels, anchors.num_anchors_per_location()[0], head),
        "rpn_post_nms_top_n_train": PROPOSALS,
        "box_roi_pool": MultiScaleRoIAlign(LEVELS, output_size=7, sampling_ratio=0),
        "box_head": BoxHead(body.out_channels, 7, BOX_WIDTH),
        "box_predictor": BoxPredictor(BOX_WIDTH, num_classes),
    }


def _build(kind: Any, body: PyramidBackbone, given: dict[str, Any], settings: dict[str, Any] | None) -> Any:
    config = body.body.pretrained_cfg or {}
    given = {
        "image_mean": list(config.get("mean", IMAGENET_DEFAULT_MEAN)),
        "image_std": list(config.get("std", IMAGENET_DEFAULT_STD)),
        **given,
        **(settings or {}),
    }
    # torchvision passes what it does not know on to its transform, which ignores it.
    known = {*signature(kind.__init__).parameters, *signature(GeneralizedRCNNTransform.__init__).parameters}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"settings: expected arguments of torchvision's {kind.__name__}, got {', '.join(unknown)}")
    detector = kind(body, **given)
    detector.pretrained_cfg = {"mean": given["image_mean"], "std": given["image_std"]}
    return detector


@singledispatch
def sweep(network: nn.Module, images: Tensor) -> None:
    """Run every part of a network once on images of their final size, for counting.

    A detector takes no decision then, so that shapes alone are enough: 1000 proposals go through the box head and 100
    through the mask head, as in the counts of the released code.
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
    """Return the modules that the published FLOPs leave out: the last two convolutions of a mask head of convolutions.

    The authors' framework has no rule for its own kinds of them. Their mask head of involutions has PyTorch's, which
    are counted.
    """
    if not isinstance(network, detection.MaskRCNN):
        return []
    heads = network.roi_heads
    convolutions = isinstance(heads.mask_head[0], nn.Conv2d)
    return [heads.mask_predictor.conv5_mask, heads.mask_predictor.mask_fcn_logits] if convolutions else []
