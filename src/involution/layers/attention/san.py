"""The two kernel generators of SAN, members of the involution family that aggregate a projected value.

Zhao, Jia and Koltun, "Exploring Self-attention for Image Recognition", CVPR 2020, eq. 2 to 5. The authors share a
kernel among every G-th channel; here, as everywhere in this package, neighboring channels share one. A permutation of
the value's weight converts one into the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from involution.layers.attention import window

RELATION_RATIO = 16
VALUE_RATIO = 4
GROUP_CHANNELS = 8


class _SAN2d(nn.Module):
    """Query, key and value, and the aggregation; windows are reflected at the border."""

    def __init__(self, channels: int, kernel_size: int = 7, **factory: Any) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: expected an odd number of pixels, got {kernel_size}")
        if channels < 1 or channels % (VALUE_RATIO * GROUP_CHANNELS):
            raise ValueError(f"channels: expected a multiple of {VALUE_RATIO * GROUP_CHANNELS}, got {channels}")
        self.kernel_size = kernel_size
        self.relation = channels // RELATION_RATIO
        self.out_channels = channels // VALUE_RATIO
        self.groups = self.out_channels // GROUP_CHANNELS
        self.query = nn.Conv2d(channels, self.relation, 1, **factory)
        self.key = nn.Conv2d(channels, self.relation, 1, **factory)
        self.value = nn.Conv2d(channels, self.out_channels, 1, **factory)

    def kernel(self, x: Tensor) -> Tensor:
        """Generate the kernel of every pixel, [B, G, K, K, H, W]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        value = self._reflect(self.value(x))
        return window.aggregate(value, self.kernel(x), [1, 1], [0, 0], [1, 1])

    def _neighbors(self, x: Tensor) -> Tensor:
        return window.neighbors(self._reflect(x), [self.kernel_size, self.kernel_size])

    def _reflect(self, x: Tensor) -> Tensor:
        margin = self.kernel_size // 2
        if min(x.shape[2:]) <= margin:
            raise ValueError(f"x: expected more than {margin} pixels per axis to reflect, got {list(x.shape[2:])}")
        return F.pad(x, [margin] * 4, mode="reflect")


class SANPairwise2d(_SAN2d):
    """Weight each pixel of a window by its relation to the pixel at the center.

        kernel[b,g,o,p] = softmax_o( MLP[q(p) − k(p+o), π(p) − π(p+o)]_g )        y = involution2d(v, kernel)

    with π a linear map of the position in the image. SAN, eq. 2 and 3.

    Args:
        channels: C, divisible by 32; the value has C/4, query and key C/16, and 8 channels share a kernel.
        kernel_size: odd, in pixels.
        factory: device and dtype.

    Shape:
        [B, C, H, W] → [B, C/4, H, W].

    Raises:
        ValueError: C or the window is not as above, or the image is not larger than half the window.

    >>> SANPairwise2d(64, 3)(torch.rand(1, 64, 5, 6)).shape
    torch.Size([1, 16, 5, 6])
    """

    def __init__(self, channels: int, kernel_size: int = 7, **factory: Any) -> None:
        super().__init__(channels, kernel_size, **factory)
        self.position = nn.Conv2d(2, 2, 1, **factory)
        self.mlp = nn.Sequential(
            nn.BatchNorm2d(self.relation + 2, **factory),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.relation + 2, self.relation, 1, bias=False, **factory),
            nn.BatchNorm2d(self.relation, **factory),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.relation, self.groups, 1, **factory),
        )

    def kernel(self, x: Tensor) -> Tensor:
        position = self.position(window.grid(x.shape[2], x.shape[3], x).flip(0)[None])
        position = (position[:, :, None, None] - self._neighbors(position)).expand(len(x), -1, -1, -1, -1, -1)
        query, key = self.query(x), self.key(x)
        relation = torch.cat([query[:, :, None, None] - self._neighbors(key), position], 1)  # [B, C/16 + 2, K, K, H, W]
        taps_by_pixels = relation.flatten(4).flatten(2, 3)  # the MLP treats every tap of every pixel as a pixel
        logits = self.mlp(taps_by_pixels).unflatten(2, relation.shape[2:4]).unflatten(4, relation.shape[4:])
        return window.softmax(logits, x.dtype)


class SANPatchwise2d(_SAN2d):
    """Generate the kernel of a pixel from its whole window.

        kernel[b,:,:,p] = MLP[q(p), k(p+o₁), …, k(p+o_{K·K})]        y = involution2d(v, kernel)

    SAN, eq. 4 and 5: no softmax, and position is given by the order of the taps. Arguments, shapes and errors as for
    `SANPairwise2d`.

    >>> SANPatchwise2d(64, 3)(torch.rand(1, 64, 5, 6)).shape
    torch.Size([1, 16, 5, 6])
    """

    def __init__(self, channels: int, kernel_size: int = 7, **factory: Any) -> None:
        super().__init__(channels, kernel_size, **factory)
        seen = self.relation * (kernel_size**2 + 1)
        self.mlp = nn.Sequential(
            nn.BatchNorm2d(seen, **factory),
            nn.ReLU(inplace=True),
            nn.Conv2d(seen, self.groups, 1, bias=False, **factory),
            nn.BatchNorm2d(self.groups, **factory),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.groups, self.groups * kernel_size**2, 1, **factory),
        )

    def kernel(self, x: Tensor) -> Tensor:
        seen = torch.cat([self.query(x), self._neighbors(self.key(x)).flatten(1, 3)], 1)
        return self.mlp(seen).unflatten(1, (self.groups, self.kernel_size, self.kernel_size))
