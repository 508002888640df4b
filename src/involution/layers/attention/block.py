"""Attention among the pixels of a block: the stem of the stand-alone networks, in place of a convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from involution.ops.geometry import check_divisor


class BlockAttention2d(nn.Module):
    """Self-attention within disjoint blocks. The value of a pixel depends on its position in the block.

        y(p) = Σ_{j in the block of p} softmax_j( q(p)·k(j) ) v(j)
        v(j) = Σ_m softmax_m( (row(j_y) + column(j_x))·ν_m ) V_m x(j)

    per head. Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019, section 3.2, appendix.
    A single pixel of an image carries little information, and a convolution would detect edges; the mixture makes
    values depend on position. Blocks that extend beyond the image attend only to pixels inside it.

    Args:
        in_channels: C of the input.
        channels: C' of the output.
        size: of a block, in pixels.
        heads: of the attention.
        mixtures: number of V_m; the paper does not specify it; 4 gives its FLOPs.

    Shape:
        [B, C, H, W] → [B, C', H, W].

    Raises:
        ValueError: `heads` does not divide C'.

    >>> BlockAttention2d(3, 64)(torch.rand(1, 3, 9, 9)).shape
    torch.Size([1, 64, 9, 9])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int = 4,
        heads: int = 4,
        mixtures: int = 4,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_divisor("heads", heads, channels)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.size = size
        self.heads = heads
        self.query = nn.Conv2d(in_channels, channels, 1, bias=False, **factory)
        self.key = nn.Conv2d(in_channels, channels, 1, bias=False, **factory)
        self.value = nn.Conv2d(in_channels, mixtures * channels, 1, bias=False, **factory)
        self.rows = nn.Parameter(torch.empty(size, channels, **factory))
        self.columns = nn.Parameter(torch.empty(size, channels, **factory))
        self.mixtures = nn.Parameter(torch.empty(mixtures, channels, **factory))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw projections with a variance of 1 / fan-in, embeddings such that initial mixtures are uneven."""
        for layer in (self.query, self.key, self.value):
            nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)
        for embedding in (self.rows, self.columns, self.mixtures):
            nn.init.normal_(embedding, std=embedding.shape[1] ** -0.25)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        missing = [0, -width % self.size, 0, -height % self.size]
        mask: Tensor | None = None
        if max(missing) > 0:
            mask = self._blocks(F.pad(x.new_ones(1, 1, height, width), missing), 1).squeeze(-1)[..., None, :] > 0
        padded = F.pad(x, missing)
        query, key = self._blocks(self.query(padded), self.heads), self._blocks(self.key(padded), self.heads)
        value = self._blocks(self._values(padded), self.heads)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)  # [B, blocks, heads, S·S, d]
        down, across = padded.shape[2] // self.size, padded.shape[3] // self.size
        y = y.unflatten(3, (self.size, self.size)).unflatten(1, (down, across))  # [B, down, across, heads, S, S, d]
        return y.permute(0, 3, 6, 1, 4, 2, 5).flatten(5, 6).flatten(3, 4).flatten(1, 2)[:, :, :height, :width]

    def _values(self, x: Tensor) -> Tensor:
        place = self.rows[:, None] + self.columns  # [S, S, C']
        shares = (place @ self.mixtures.T).softmax(-1)  # [S, S, mixtures]
        tiles = (1, x.shape[2] // self.size, x.shape[3] // self.size)
        candidates = self.value(x).unflatten(1, (len(self.mixtures), -1))
        return (candidates * shares.permute(2, 0, 1).tile(tiles)[:, None]).sum(1)

    def _blocks(self, x: Tensor, heads: int) -> Tensor:
        """Return [B, blocks, heads, S·S, C/heads]."""
        size = self.size
        x = (
            x.unflatten(3, (-1, size)).unflatten(2, (-1, size)).unflatten(1, (heads, -1))
        )  # [B, h, d, down, S, across, S]
        return x.permute(0, 3, 5, 1, 4, 6, 2).flatten(4, 5).flatten(1, 2)
