"""Semantic segmentation: a backbone and a decoder that scores every class at every pixel.

The networks of Li et al., "Involution", CVPR 2021, section 4.3. The backbone is any network of timm's registry with
four stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from involution.layers import Involution2d
from involution.models.pyramid.backbones import Backbone, create_backbone
from involution.models.pyramid.fpn import FeaturePyramid
from involution.models.segmentation.semantic_fpn import SemanticFPNHead
from involution.models.segmentation.upernet import AuxiliaryHead, UPerHead
from involution.models.skeleton.options import check_counts

DEEP_STEM = {f"resnet{depth}": f"resnet{depth}c" for depth in (50, 101, 152)}
"""The paper's baselines have ResNets whose stem is three 3x3 convolutions; `resnet50c` and so on in timm."""


class Segmentor(nn.Module):
    """Backbone, neck and decoder, with scores at the size of the image and the outputs of torchvision's segmentors.

    Args:
        backbone: maps the image to feature maps of four stages.
        neck: maps feature maps to feature maps.
        decode_head: maps feature maps to scores at the resolution of the first.
        auxiliary_head: maps the feature map of the third stage to scores; used in training only.

    Shape:
        [B, 3, H, W], of any size → {"out": [B, classes, H, W]}; in training also "aux", if there is an auxiliary head.
    """

    def __init__(
        self, backbone: Backbone, neck: nn.Module, decode_head: nn.Module, auxiliary_head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.decode_head, self.auxiliary_head = backbone, neck, decode_head, auxiliary_head
        self.pretrained_cfg = backbone.pretrained_cfg

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(x)
        scores = {"out": self.decode_head(self.neck(maps))}
        if self.training and self.auxiliary_head is not None:
            scores["aux"] = self.auxiliary_head(maps[2])
        size = x.shape[-2:]
        return {name: F.interpolate(y, size, mode="bilinear", align_corners=False) for name, y in scores.items()}


def semantic_fpn(
    backbone: str = "rednet50",
    neck: str = "convolution",
    *,
    num_classes: int = 19,
    channels: int = 256,
    head_channels: int = 128,
    **kwargs: Any,
) -> Segmentor:
    """Build Semantic FPN: a feature pyramid whose levels are upsampled and summed.

    Args:
        backbone: a network of timm's registry. "resnet50", "resnet101" and "resnet152" have the deep stem of the paper;
            add a tag, such as `resnet50.tv_in1k`, for the usual stem.
        neck: layer of the pyramid, "convolution" or "involution".
        num_classes: of the output.
        channels, head_channels: of the pyramid and of the decoder.
        kwargs: of `involution.models.pyramid.backbones.create_backbone`, for example `weights`.

    Raises:
        ValueError: there is no such backbone, neck or argument, or the weights do not match.

    >>> import torch
    >>> net = semantic_fpn("rednet26", "involution", num_classes=11).eval()
    >>> net(torch.rand(1, 3, 65, 97))["out"].shape
    torch.Size([1, 11, 65, 97])
    """
    check_counts(num_classes=num_classes, channels=channels, head_channels=head_channels)
    body = create_backbone(DEEP_STEM.get(backbone, backbone), **kwargs)
    pyramid = FeaturePyramid(body.channels, channels, neck)
    return Segmentor(body, pyramid, SemanticFPNHead(channels, head_channels, num_classes))


def upernet(
    backbone: str = "rednet50",
    neck: str = "convolution",
    *,
    num_classes: int = 19,
    channels: int = 512,
    auxiliary_channels: int = 256,
    **kwargs: Any,
) -> Segmentor:
    """Build UPerNet, with an auxiliary head on the third stage.

    Args:
        backbone: as for `semantic_fpn`.
        neck: layer of the decoder's pyramid, "convolution" as published or "involution".
        num_classes: of the output.
        channels, auxiliary_channels: of the decoder and of the auxiliary head.
        kwargs: of `involution.models.pyramid.backbones.create_backbone`, for example `weights`.

    Raises:
        ValueError: there is no such backbone, neck or argument, or the weights do not match.

    >>> import torch
    >>> net = upernet("rednet26", num_classes=11, channels=64, auxiliary_channels=32)
    >>> {name: tuple(y.shape) for name, y in net(torch.rand(2, 3, 64, 96)).items()}
    {'out': (2, 11, 64, 96), 'aux': (2, 11, 64, 96)}
    """
    check_counts(num_classes=num_classes, channels=channels, auxiliary_channels=auxiliary_channels)
    body = create_backbone(DEEP_STEM.get(backbone, backbone), **kwargs)
    head = UPerHead(body.channels, channels, num_classes, neck)
    return Segmentor(body, nn.Identity(), head, AuxiliaryHead(body.channels[2], auxiliary_channels, num_classes))


SEGMENTORS: dict[str, Callable[..., Segmentor]] = {"semantic_fpn": semantic_fpn, "upernet": upernet}
"""Builders, by the name of the segmentor."""


def synchronize_norms(network: nn.Module) -> nn.Module:
    """Replace batch norms by synchronized ones, in place, as in the released segmentors.

    The norms in involutions and the norm after the involution of a stem stay unsynchronized.
    """
    before: nn.Module | None = None
    for name, child in network.named_children():
        in_stem = isinstance(network, nn.Sequential) and isinstance(before, Involution2d)
        if isinstance(child, nn.BatchNorm2d) and not in_stem:
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        elif not isinstance(child, Involution2d):
            synchronize_norms(child)
        before = child
    return network
