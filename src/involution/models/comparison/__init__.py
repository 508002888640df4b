"""The networks of the paper's Table 1 beside RedNet, and controls. Importing this package registers them in timm."""

from involution.models.comparison import (
    augmented_resnet,
    axial_resnet,
    conv_resnet,
    depthwise_rednet,
    inverted_rednet,
    lrnet,
    san,
    standalone_resnet,
)

__all__ = [
    "augmented_resnet",
    "axial_resnet",
    "conv_resnet",
    "depthwise_rednet",
    "inverted_rednet",
    "lrnet",
    "san",
    "standalone_resnet",
]
