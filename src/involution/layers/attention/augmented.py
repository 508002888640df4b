"""Attention over the whole map in parallel with a convolution, computed by PyTorch's attention function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KEY_RATIO = 0.2
VALUE_RATIO = 0.1
LEAST_KEY_WIDTH = 20


class AugmentedConv2d(nn.Module):
    """A 3x3 convolution whose last channels are replaced by multi-head attention over all pixels.

        logits_h(p,j) = q_h(p) · ( k_h(j) + row(j_y − p_y) + column(j_x − p_x) ) / √d
        y = [ conv(x) ; W · concat_h Σ_j softmax_j(logits_h) v_h(j) ]

    Bello et al., "Attention Augmented Convolutional Networks", ICCV 2019, section 3. Keys take 0.2 C channels, at least
    20 a head, values 0.1 C; these widths give the paper's parameter counts. The tables are shared by
    the heads; offsets beyond them take their last entry, so that the layer works on every size.

    Args:
        channels: C.
        stride, dilation: of the convolution; the attention works on the strided map.
        size: rows and columns of the map on which attention works, for the tables.
        pooled: attend on the map averaged over 3x3 pixels with stride 2, then upsample.
        heads: of the attention.

    Raises:
        ValueError: there are too few channels for the heads, or no heads.

    Shape:
        [B, C, H, W] → [B, C, ⌈H/s⌉, ⌈W/s⌉].

    >>> AugmentedConv2d(128, size=9)(torch.rand(1, 128, 9, 9)).shape
    torch.Size([1, 128, 9, 9])
    """

    def __init__(
        self,
        channels: int,
        stride: int = 1,
        dilation: int = 1,
        size: int = 14,
        pooled: bool = False,
        heads: int = 8,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype, "bias": False}
        if heads < 1:
            raise ValueError(f"heads: expected at least 1, got {heads}")
        self.heads = heads
        self.value_channels = heads * int(VALUE_RATIO * channels / heads)
        self.key_channels = heads * max(LEAST_KEY_WIDTH, int(KEY_RATIO * channels / heads))
        if self.value_channels < 1:
            raise ValueError(
                f"channels: expected at least {round(heads / VALUE_RATIO)} for {heads} heads, got {channels}"
            )
        own = channels - self.value_channels
        self.conv = nn.Conv2d(channels, own, 3, stride, padding=dilation, dilation=dilation, **factory)
        self.pool = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False) if pooled else nn.Identity()
        self.qkv = nn.Conv2d(channels, 2 * self.key_channels + self.value_channels, 1, stride, **factory)
        self.proj = nn.Conv2d(self.value_channels, self.value_channels, 1, **factory)
        table = (2 * size - 1, self.key_channels // heads)
        self.rows = nn.Parameter(torch.empty(table, device=device, dtype=dtype))
        self.columns = nn.Parameter(torch.empty(table, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the convolution by He's rule, the attention by fan-in, the tables with a variance of 1/d."""
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        for layer in (self.qkv, self.proj):
            nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)
        for parameter in (self.rows, self.columns):
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        own, attended = self.conv(x), self.attend(self.pool(x))
        if attended.shape[2:] != own.shape[2:]:
            attended = F.interpolate(attended, own.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([own, attended], 1)

    def attend(self, x: Tensor) -> Tensor:
        """Return the projected values that every pixel of the strided map gathers, [B, C_v, H', W']."""
        query, key, value, bias = self.queries(x)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        height = -(-x.shape[2] // self.qkv.stride[0])
        return self.proj(y.transpose(2, 3).flatten(1, 2).unflatten(2, (height, -1)))

    def queries(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return query, key and value, [B, heads, H'·W', d], and the relative logits [B, heads, H'·W', H'·W']."""
        widths = (self.key_channels, self.key_channels, self.value_channels)
        qkv = self.qkv(x)
        height, width = qkv.shape[2:]
        query, key, value = (
            part.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3) for part in qkv.split(widths, 1)
        )
        grid = query.unflatten(2, (height, width)) * query.shape[-1] ** -0.5
        by_row = torch.einsum("bhyxd,yid->bhyxi", grid, _relative(self.rows, height))
        by_column = torch.einsum("bhyxd,xjd->bhyxj", grid, _relative(self.columns, width))
        bias = by_row[..., :, None] + by_column[..., None, :]  # [B, heads, H', W', H', W']
        return query, key, value, bias.flatten(4, 5).flatten(2, 3)


def _relative(table: Tensor, size: int) -> Tensor:
    """Return the entries of a table for all pairs of positions on an axis, [size, size, d]."""
    reach = len(table) // 2
    positions = torch.arange(size, device=table.device)
    return table[(positions - positions[:, None]).clamp(-reach, reach) + reach]
