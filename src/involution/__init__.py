"""Involution (Li et al., CVPR 2021): the operator, the layer, and RedNet."""

from importlib.metadata import version

from involution import family
from involution.layers import Involution1d, Involution2d, Involution3d, replace_conv2d
from involution.ops import involution1d, involution2d, involution3d, local_products, spanned_involution

__version__ = version("involution")

__all__ = [
    "Involution1d",
    "Involution2d",
    "Involution3d",
    "family",
    "involution1d",
    "involution2d",
    "involution3d",
    "local_products",
    "replace_conv2d",
    "spanned_involution",
]
