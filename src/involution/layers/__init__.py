"""Layers: feature map in, feature map out."""

from involution.layers.involution import Involution1d, Involution2d, Involution3d
from involution.layers.span import Span
from involution.layers.surgery import replace_conv2d

__all__ = ["Involution1d", "Involution2d", "Involution3d", "Span", "replace_conv2d"]
