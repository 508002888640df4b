"""Position-sensitive attention along one axis: the operator with windows of one column, plus additional terms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from involution.layers.attention import window
from involution.ops.geometry import check_divisor


class AxialAttention2d(nn.Module):
    """Self-attention over the pixels of the same column or row, with positions in query, key and value.

        kernel[p,o] = softmax_o( BN(q(p)·k(p+o)) + BN(q(p)·r_q(o)) + BN(k(p+o)·r_k(o)) )
        y(p) = BN( Σ_o kernel[p,o] v(p+o) ) + BN( Σ_o kernel[p,o] r_v(o) )

    per head, for |o| ≤ span and p+o in the image. Wang et al., "Axial-DeepLab", ECCV 2020, eq. 4. The first term is the
    operator's kernel gradient and the first sum the operator itself; the tables are shared by the heads. In training,
    the statistics of the logits are those of the taps inside the image.

    Args:
        channels: C; query and key have C/2 channels.
        vertical: whether the axis is the column through a pixel, or the row.
        span: farthest offset in pixels.
        stride: every s-th row (or column) of the result is kept.
        heads: of the attention.

    Shape:
        [B, C, H, W] → [B, C, ⌈H/s⌉, W], or [B, C, H, ⌈W/s⌉].

    Raises:
        ValueError: `heads` does not divide C/2.

    >>> AxialAttention2d(32, vertical=True, stride=2)(torch.rand(1, 32, 9, 9)).shape
    torch.Size([1, 32, 5, 9])
    """

    def __init__(
        self,
        channels: int,
        vertical: bool,
        span: int = 7,
        stride: int = 1,
        heads: int = 8,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"channels: expected an even number, got {channels}")
        check_divisor("heads", heads, channels // 2)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.channels = channels
        self.vertical = vertical
        self.span = span
        self.stride = stride
        self.heads = heads
        self.qkv = nn.Conv2d(channels, 2 * channels, 1, bias=False, **factory)
        self.norm_qkv = nn.BatchNorm2d(2 * channels, **factory)
        self.norm_logits = nn.BatchNorm2d(3 * heads, **factory)
        self.norm_value = nn.BatchNorm2d(channels, **factory)
        self.norm_position = nn.BatchNorm2d(channels, **factory)
        taps, head_width = 2 * span + 1, channels // heads
        self.for_query = nn.Parameter(torch.empty(taps, head_width // 2, **factory))
        self.for_key = nn.Parameter(torch.empty(taps, head_width // 2, **factory))
        self.for_value = nn.Parameter(torch.empty(taps, head_width, **factory))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projection with a variance of 1 / fan-in, the tables with 1 / width of a head."""
        nn.init.normal_(self.qkv.weight, std=self.channels**-0.5)
        for table in (self.for_query, self.for_key, self.for_value):
            nn.init.normal_(table, std=table.shape[1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.vertical:
            return self._attend(x)[:, :, :: self.stride]
        return self._attend(x.transpose(2, 3))[:, :, :: self.stride].transpose(2, 3)

    def _attend(self, x: Tensor) -> Tensor:
        half = self.channels // 2
        query, key, value = self.norm_qkv(self.qkv(x)).split((half, half, self.channels), 1)
        kernel = self._kernel(query, key)
        gathered = window.aggregate(value, kernel[:, :, :, None], [1, 1], [self.span, 0], [1, 1])
        position = torch.einsum("bgoij,od->bgdij", kernel, self.for_value).flatten(1, 2)
        return self.norm_value(gathered) + self.norm_position(position)

    def _kernel(self, query: Tensor, key: Tensor) -> Tensor:
        """Generate the attention of every pixel over its column, [B, heads, 2·span+1, H, W]."""
        span, taps, height = self.span, 2 * self.span + 1, query.shape[2]
        products = window.products(query, key, self.heads, [taps, 1], [1, 1], [span, 0], [1, 1]).squeeze(3)
        by_query = torch.einsum("bgdij,od->bgoij", query.unflatten(1, (self.heads, -1)), self.for_query)
        by_key = torch.einsum("bgdij,od->bgoij", key.unflatten(1, (self.heads, -1)), self.for_key)
        terms = torch.cat([products, by_query, _shear(by_key, span)], 1).flatten(2, 3)  # [B, 3·heads, taps·H, W]
        inside = _inside(height, span, query.device)
        logits = self.norm_logits(terms[:, :, inside]).unflatten(1, (3, self.heads)).sum(1)
        everywhere = logits.new_full([len(logits), self.heads, taps * height, logits.shape[3]], -torch.inf)
        everywhere = everywhere.index_copy(2, inside, logits).unflatten(2, (taps, height))
        return everywhere.softmax(2, torch.promote_types(logits.dtype, torch.float32)).to(query.dtype)


def _inside(height: int, span: int, device: torch.device) -> Tensor:
    """Return the indices in the flattened [2·span+1, height] at which the tap of a row is inside the map."""
    inside: list[int] = []  # a list, not `nonzero`: the number of entries is then known without the values
    for tap in range(2 * span + 1):
        offset = tap - span
        for i in range(max(0, -offset), min(height, height - offset)):
            inside.append(tap * height + i)
    return torch.tensor(inside, device=device)


def _shear(x: Tensor, span: int) -> Tensor:
    """Return y[b,g,o,i,j] = x[b,g,o,i+o−span,j], zero outside: [B, G, taps, H, W] → the same."""
    taps, height = x.shape[2:4]
    padded = F.pad(x, (0, 0, span, span)).flatten(2, 3)
    # Rows are read as one pixel longer than they are: every tap starts one pixel later than the previous one.
    longer = F.pad(padded, (0, 0, 0, taps)).unflatten(2, (taps, height + 2 * span + 1))
    return longer[:, :, :, :height]
