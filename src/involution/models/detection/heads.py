"""Heads of the detectors, as in the released code, behind the interfaces that torchvision's detectors expect.

Where torchvision gives the background outputs that nothing reads (a box, a mask), these have none; the place of the
background is filled with zeros, so that a label is still an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import detection

from involution.layers import Involution2d
from involution.models.pyramid.fpn import local_layer

SPAN_STD = 0.02
"""Of involutions that start around the identity."""


class RPNHead(nn.Module):
    """One local layer – ReLU – 1x1 convolutions to objectness and box of every anchor, shared by all levels.

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
        return [self.cls_logits(x) for x in maps], [self.bbox_pred(x) for x in maps]


class BoxHead(nn.Module):
    """Two linear layers with ReLU, drawn from the uniform distribution of Xavier: [R, C, H, W] → [R, width].

    The layers have the names of torchvision's `TwoMLPHead`.
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

    The box of the background, class 0, is never used; it takes no weights.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, num_classes)
        self.bbox_pred = nn.Linear(width, 4 * (num_classes - 1))
        _normal(self.cls_score, 0.01)
        _normal(self.bbox_pred, 0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), F.pad(self.bbox_pred(x), (4, 0))


class MaskHead(nn.Sequential):
    """Four local layers, each with ReLU: [R, C, H, W] → the same.

    Involutions start around the identity, with kernels of 1 in the centre and little beside it. In the released code
    they are drawn around zero, over the fan-out: each of the four then loses the sign of its input and makes it three
    to eight times larger, and from scratch no mask was learned.
    """

    def __init__(self, channels: int, head: str, depth: int = 4) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layer = local_layer(head, channels, "head")
            if isinstance(layer, nn.Conv2d):
                _he(layer)
            elif isinstance(layer, Involution2d):
                _identity(layer)
            layers += [layer, nn.ReLU(inplace=True)]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        # Without any object there is nothing that the batch norms of involutions could learn their statistics from.
        return super().forward(x) if len(x) else x


class MaskPredictor(nn.Module):
    """Twice the resolution and a mask per class: [R, C, H, W] → [R, num_classes, 2H, 2W].

    The mask of the background, class 0, is never used; it takes no weights.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.mask_fcn_logits = nn.Conv2d(channels, num_classes - 1, 1)
        _he(self.conv5_mask)
        # The released code draws these over the fan-out as well, which for one class is a standard deviation of 1.4.
        _normal(self.mask_fcn_logits, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.mask_fcn_logits(self.relu(self.conv5_mask(x))), (0, 0, 0, 0, 1, 0))


class RetinaNet(detection.RetinaNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's RetinaNet, its classes counted from 1 as in its other detectors; 0 is the background.

    The logits have no place for the background, which the focal loss of sigmoids does not need.
    """

    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        shifted = [{**target, "labels": target["labels"] - 1} for target in targets]
        return super().compute_loss(shifted, head_outputs, anchors)

    def postprocess_detections(self, *args: Any) -> list[dict[str, Tensor]]:
        found = super().postprocess_detections(*args)
        return [{**image, "labels": image["labels"] + 1} for image in found]


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
