"""The configuration of a detector: everything but its kind and the source of its weights."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from involution.models.skeleton.options import check_counts, check_options

CLASSES = 81
"""Of COCO, with the background."""


@dataclass(frozen=True)
class DetectorConfig:
    """Architecture of a detector and the trained part of its backbone.

    Args:
        backbone: a network of timm's registry with four stages, ours or timm's.
        neck: output layers of the pyramid, "convolution" or "involution".
        head: the layer before the proposals, and the four layers before Mask R-CNN's masks; "convolution" or
            "involution". RetinaNet's head is not configurable.
        num_classes: with the background, which is class 0.
        channels: of the pyramid.
        frozen_stages, norm_eval: see `involution.models.pyramid.backbones.Backbone`. The paper freezes one stage and
            all norms (1 and True), which needs weights.
        mask_init: initialization of Mask R-CNN's mask head. "he" draws all layers with He's normal distribution over
            the fan-out, as the released code does. "identity" starts involutions near the identity and class scores
            near 0: from scratch, masks of a head of involutions were learned only with it.
        settings: arguments of torchvision's detector, such as `min_size`, that replace those of the paper.
        options: arguments of the backbone, such as `stem_kernel_size`.
    """

    backbone: str = "rednet50"
    neck: str = "convolution"
    head: str = "convolution"
    num_classes: int = CLASSES
    channels: int = 256
    frozen_stages: int = -1
    norm_eval: bool = False
    mask_init: str = "he"
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_counts(2, num_classes=self.num_classes)
        check_counts(channels=self.channels)
        check_options(self.settings, "settings")

    @classmethod
    def of(cls, **kwargs: Any) -> DetectorConfig:
        """Return the configuration with these fields; the backbone takes all arguments that are no fields."""
        names = {entry.name for entry in fields(cls)} - {"options"}
        given = {name: value for name, value in kwargs.items() if name in names}
        return cls(**given, options={name: value for name, value in kwargs.items() if name not in names})
