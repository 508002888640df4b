"""Heads of the detectors as in the released code, with the interfaces of torchvision's detectors.

torchvision computes a box and a mask of the background, which are never used. These heads have no weights for them and
fill their place with zeros, so that a label is still an index. Scores and boxes are returned in float32 at least:
in bfloat16, a coordinate near 1000 is a multiple of 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import detection
from torchvision.models.detection import retinanet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from involution.layers import Involution2d
from involution.models.pyramid.fpn import local_layer

MASK_INITS = ("he", "identity")

SPAN_STD = 0.02
"""Standard deviation of the weights that generate kernels, in involutions that start near the identity."""


class Anchors(AnchorGenerator):  # type: ignore[misc]  # torchvision has no types
    """torchvision's anchors in float32 at least, whatever the dtype of the feature maps."""

    def forward(self, images: ImageList, levels: list[Tensor]) -> list[Tensor]:
        exact = torch.promote_types(levels[0].dtype, torch.float32)
        anchors: list[Tensor] = super().forward(images, [x.new_empty((), dtype=exact).expand(x.shape) for x in levels])
        return anchors


class RPNHead(nn.Module):
    """A local layer – ReLU – 1x1 convolutions to objectness and box of every anchor, shared by all levels.

    Args:
        channels: of every level.
        anchors: per position.
        head: the local layer, a name of `involution.models.pyramid.fpn.LAYERS`.
    """

    def __init__(self, channels: int, anchors: int, head: str) -> None:
        super().__init__()
        self.conv = local_layer(head, channels, "head")
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * anchors, 1)
        for layer in self.children():
            if isinstance(layer, nn.Conv2d):  # an involution keeps its own initialization
                _normal(layer, 0.01)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        maps = [F.relu(self.conv(x)) for x in levels]
        return [_exact(self.cls_logits(x)) for x in maps], [_exact(self.bbox_pred(x)) for x in maps]


class BoxHead(nn.Module):
    """Two linear layers with ReLU and Xavier's uniform initialization: [R, C, H, W] → [R, width].

    The layers have the names of torchvision's `TwoMLPHead`. Its ReLUs are functions, which the published counts, taken
    from modules, would miss.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * size**2, width)
        self.fc7 = nn.Linear(width, width)
        self.relu = nn.ReLU(inplace=True)
        for layer in (self.fc6, self.fc7):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.fc7(self.relu(self.fc6(x.flatten(1)))))


class BoxPredictor(nn.Module):
    """Logits of all classes and a box per class: [R, width] → [R, num_classes], [R, 4 · num_classes].

    The box of the background, class 0, is zero.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, num_classes)
        self.bbox_pred = nn.Linear(width, 4 * (num_classes - 1))
        _normal(self.cls_score, 0.01)
        _normal(self.bbox_pred, 0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _exact(self.cls_score(x)), F.pad(_exact(self.bbox_pred(x)), (4, 0))


class MaskHead(nn.Sequential):
    """Four local layers, each with ReLU: [R, C, H, W] → the same.

    Args:
        channels: C.
        head: the local layer, a name of `involution.models.pyramid.fpn.LAYERS`.
        init: "he" or "identity", see `involution.models.detection.DetectorConfig.mask_init`. "identity" sets the
            biases that generate kernels to 1 at the center and 0 elsewhere. Drawn over the fan-out, each of the four
            involutions loses the sign of its input and multiplies it by three to eight.
    """

    def __init__(self, channels: int, head: str, init: str = "he", depth: int = 4) -> None:
        if init not in MASK_INITS:
            raise ValueError(f"mask_init: expected one of {', '.join(MASK_INITS)}, got {init!r}")
        layers: list[nn.Module] = []
        for _ in range(depth):
            layer = local_layer(head, channels, "head")
            if isinstance(layer, nn.Conv2d):
                _he(layer)
            elif isinstance(layer, Involution2d) and init == "identity":
                _identity(layer)
            layers += [layer, nn.ReLU(inplace=True)]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if len(x):
            return super().forward(x)
        # Batch norms of involutions cannot take an empty batch. Every parameter still gets a gradient, of zero, which
        # DistributedDataParallel expects in every process.
        return x + 0 * sum(parameter.sum() for parameter in self.parameters())


class MaskPredictor(nn.Module):
    """Upsampling by two and a mask per class: [R, C, H, W] → [R, num_classes, 2H, 2W].

    The mask of the background, class 0, is zero. `init` is that of `MaskHead`; "identity" draws the class scores with a
    standard deviation of 0.01, because over the fan-out it is 1.4 for a single class.
    """

    def __init__(self, channels: int, num_classes: int, init: str = "he") -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.mask_fcn_logits = nn.Conv2d(channels, num_classes - 1, 1)
        _he(self.conv5_mask)
        if init == "identity":
            _normal(self.mask_fcn_logits, 0.01)
        else:
            _he(self.mask_fcn_logits)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.mask_fcn_logits(self.relu(self.conv5_mask(x))), (0, 0, 0, 0, 1, 0))


class RetinaNetHead(retinanet.RetinaNetHead):  # type: ignore[misc]
    """torchvision's head of RetinaNet, returning float32 at least."""

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        return {name: _exact(y) for name, y in super().forward(x).items()}


class RetinaNet(detection.RetinaNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's RetinaNet with labels that start at 1, as in its other detectors; 0 is the background.

    There is no score of the background: the focal loss of sigmoids needs none.
    """

    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        shifted = [{**target, "labels": target["labels"] - 1} for target in targets]
        return super().compute_loss(shifted, head_outputs, anchors)

    def postprocess_detections(self, *args: Any) -> list[dict[str, Tensor]]:
        found = super().postprocess_detections(*args)
        return [{**image, "labels": image["labels"] + 1} for image in found]


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _normal(layer: nn.Conv2d | nn.Linear, std: float) -> None:
    nn.init.normal_(layer.weight, std=std)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def _identity(layer: Involution2d) -> None:
    span = layer.get_submodule("conv2.conv")
    assert isinstance(span, nn.Conv2d)
    assert span.bias is not None
    nn.init.normal_(span.weight, std=SPAN_STD)
    taps = span.bias.detach().unflatten(0, (layer.groups, -1))
    taps[:, taps.shape[1] // 2] = 1


def _he(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
