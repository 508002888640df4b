"""Stand-alone self-attention as a member of the involution family: the kernel is softmax(query · key)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from involution.layers.attention import window
from involution.ops.geometry import Size, check_divisor, per_axis, same_padding


class StandAlone2d(nn.Module):
    """Self-attention within a window, in place of a convolution.

        kernel[b,h,o,p] = softmax_o( q_h(p)·k_h(p+o) + q_h(p)·[row(o_y); column(o_x)] )
        y = involution2d(v, kernel)

    Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019, eq. 2 and 3. A head is a group.
    The queries' products with the keys are the operator's kernel gradient. Taps outside the image get weight 0; the
    paper does not specify the border.

    Args:
        channels: C.
        kernel_size, dilation: of the window, in pixels; an int or (vertical, horizontal).
        stride: of the average pooling after the attention, which is computed at full resolution.
        heads: each attends with C / heads channels.
        relative: whether the logits have the second term; its tables are shared by the heads.

    Shape:
        [B, C, H, W] → [B, C, ⌈H/s⌉, ⌈W/s⌉].

    Raises:
        ValueError: `heads` does not divide C, or a size is not positive.

    >>> StandAlone2d(64)(torch.rand(1, 64, 9, 9)).shape
    torch.Size([1, 64, 9, 9])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 7,
        stride: Size = 1,
        dilation: Size = 1,
        heads: int = 8,
        relative: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_divisor("heads", heads, channels)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.heads = heads
        self.kernel_size = per_axis("kernel_size", kernel_size, 2, least=1)
        self.dilation = per_axis("dilation", dilation, 2, least=1)
        self.padding = [front for front, _ in same_padding(self.kernel_size, self.dilation)]
        self.query = nn.Conv2d(channels, channels, 1, bias=False, **factory)
        self.key = nn.Conv2d(channels, channels, 1, bias=False, **factory)
        self.value = nn.Conv2d(channels, channels, 1, bias=False, **factory)
        self.rows: nn.Parameter | None = None
        self.columns: nn.Parameter | None = None
        if relative:
            half = channels // heads // 2
            self.rows = nn.Parameter(torch.empty(half, self.kernel_size[0], **factory))
            self.columns = nn.Parameter(torch.empty(channels // heads - half, self.kernel_size[1], **factory))
        down, across = per_axis("stride", stride, 2, least=1)
        strided = down * across > 1
        # There is no padding to include; without the argument, Inductor's gradient is wrong on odd sizes.
        self.pool = nn.AvgPool2d((down, across), ceil_mode=True, count_include_pad=False) if strided else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights such that the logits of inputs of variance 1 have variance 1; the paper gives no rule."""
        channels = self.query.in_channels
        head_width = channels // self.heads
        nn.init.normal_(self.query.weight, std=(channels * head_width**0.5) ** -0.5)
        nn.init.normal_(self.key.weight, std=(channels * head_width**0.5) ** -0.5)
        nn.init.normal_(self.value.weight, std=channels**-0.5)
        for table in (self.rows, self.columns):
            if table is not None:
                nn.init.normal_(table, std=head_width**-0.25)

    def kernel(self, x: Tensor) -> Tensor:
        """Generate the attention of every pixel over its window, [B, heads, Kh, Kw, H, W]."""
        query, key = self.query(x), self.key(x)
        logits = window.products(query, key, self.heads, self.kernel_size, [1, 1], self.padding, self.dilation)
        (height, width), (kh, kw), (ph, pw), (dh, dw) = x.shape[2:], self.kernel_size, self.padding, self.dilation
        above = window.beyond(height, kh, height, 1, ph, dh, x)[:, None, :, None]  # [Kh, 1, H, 1]
        aside = window.beyond(width, kw, width, 1, pw, dw, x)[:, None, :]  # [Kw, 1, W]
        if self.rows is None or self.columns is None:
            return window.softmax(logits.masked_fill(above | aside, -torch.inf), x.dtype)
        # Row and column terms are small, so the mask of the border is added to them, and the logits need one addition.
        for_rows, for_columns = query.unflatten(1, (self.heads, -1)).split((len(self.rows), len(self.columns)), 2)
        by_row = torch.einsum("bghij,gu->bhuij", for_rows.transpose(1, 2), self.rows)
        by_column = torch.einsum("bghij,gv->bhvij", for_columns.transpose(1, 2), self.columns)
        by_row = by_row[:, :, :, None].masked_fill(above, -torch.inf)
        by_column = by_column[:, :, None].masked_fill(aside, -torch.inf)
        return window.softmax(logits + by_row + by_column, x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        kernel, value = self.kernel(x), self.value(x)
        return self.pool(window.aggregate(value, kernel, [1, 1], self.padding, self.dilation))
