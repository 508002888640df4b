"""The local relation layer as a member of the involution family: the kernel from scalar products and geometry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from involution.layers.attention import window
from involution.ops.geometry import Size, check_divisor, per_axis, same_padding


class LocalRelation2d(nn.Module):
    """Aggregate the pixels of a window, weighted by their similarity to the pixel at its center.

        kernel[b,g,o,p] = softmax_o( q_g(p) · k_g(p+o) + f_g(o) )        y = W · involution2d(x, kernel)

    with one scalar query and key per group, and f two 1x1 convolutions of the relative position o. Hu et al., "Local
    Relation Networks for Image Recognition", ICCV 2019, eq. 3 to 5. The products are the operator's kernel gradient
    with one channel a group. Taps outside the image get weight 0, as in the authors' code.

    Args:
        channels: C.
        kernel_size, stride, dilation: of the window, in pixels; an int or (vertical, horizontal).
        group_channels: neighboring channels that share a kernel, m in the paper.
        similarity: "product"; the paper also tries −(q−k)², "squared", and −|q−k|, "absolute".

    Shape:
        [B, C, H, W] → [B, C, ⌈H/s⌉, ⌈W/s⌉].

    Raises:
        ValueError: `group_channels` does not divide C, a size is not positive, or `similarity` is none of these.

    >>> LocalRelation2d(64, stride=2)(torch.rand(1, 64, 9, 9)).shape
    torch.Size([1, 64, 5, 5])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 7,
        stride: Size = 1,
        dilation: Size = 1,
        group_channels: int = 8,
        similarity: str = "product",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_divisor("group_channels", group_channels, channels)
        if similarity not in ("product", "squared", "absolute"):
            raise ValueError(f'similarity: expected "product", "squared" or "absolute", got {similarity!r}')
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.groups = groups = channels // group_channels
        self.similarity = similarity
        self.kernel_size = per_axis("kernel_size", kernel_size, 2, least=1)
        self.stride = per_axis("stride", stride, 2, least=1)
        self.dilation = per_axis("dilation", dilation, 2, least=1)
        self.padding = [front for front, _ in same_padding(self.kernel_size, self.dilation)]
        self.query = nn.Conv2d(channels, groups, 1, stride=(self.stride[0], self.stride[1]), bias=False, **factory)
        self.key = nn.Conv2d(channels, groups, 1, bias=False, **factory)
        hidden = max(1, groups // 2)  # not specified in the paper
        self.geometry = nn.Sequential(
            nn.Conv2d(2, hidden, 1, **factory), nn.ReLU(), nn.Conv2d(hidden, groups, 1, **factory)
        )
        self.proj = nn.Conv2d(channels, channels, 1, bias=False, **factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw query and key such that their products have variance 1; geometry and projection by He's rule."""
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)
        for module in (*self.geometry, self.proj):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def kernel(self, x: Tensor) -> Tensor:
        """Generate the kernel of every output pixel, [B, G, Kh, Kw, Ho, Wo]."""
        query, key = self.query(x), self.key(x)
        (height, width), (kh, kw), (ph, pw), (dh, dw) = x.shape[2:], self.kernel_size, self.padding, self.dilation
        above = window.beyond(height, kh, query.shape[2], self.stride[0], ph, dh, x)[:, None, :, None]
        aside = window.beyond(width, kw, query.shape[3], self.stride[1], pw, dw, x)[:, None, :]
        prior = self._prior(x)[:, :, :, None, None].masked_fill(above | aside, -torch.inf)
        return window.softmax(self._similarities(query, key) + prior, x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        y = window.aggregate(x, self.kernel(x), self.stride, self.padding, self.dilation)
        return self.proj(y)

    def _similarities(self, query: Tensor, key: Tensor) -> Tensor:
        near = window.products(
            query if self.similarity == "product" else torch.ones_like(query),
            key,
            self.groups,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
        )
        if self.similarity == "product":
            return near
        difference = query[:, :, None, None] - near
        return -difference.square() if self.similarity == "squared" else -difference.abs()

    def _prior(self, x: Tensor) -> Tensor:
        """Return f of every relative position, in windows from −1 to 1: [G, Kh, Kw]."""
        positions = window.grid(self.kernel_size[0], self.kernel_size[1], x)
        return self.geometry(positions[None])[0]
