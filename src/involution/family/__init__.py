"""The operator under the names that other papers have for it, with their signatures.

All of these sum the window around a pixel with a kernel of that pixel, y(p) = Σ_o kernel(p)[o] · x(p + o); they differ
in the origin of the kernels, the order of their axes, and the window. Each function is `involution2d` or one of its
derivatives between views, so all of them work on every device and dtype, on odd sizes, under `torch.compile` and
`torch.func`, and have derivatives of every order. docs/coming-from.md has the line to change in each project.
"""

from involution.family.attention import local_products, local_sums
from involution.family.filters import dynamic_conv1d, predict_kernels, ska
from involution.family.upsampling import CARAFE, carafe, convex_upsample

__all__ = [
    "CARAFE",
    "carafe",
    "convex_upsample",
    "dynamic_conv1d",
    "local_products",
    "local_sums",
    "predict_kernels",
    "ska",
]
