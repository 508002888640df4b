"""Upsampling by kernels of the output pixels: CARAFE and RAFT."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from involution.ops import involution2d
from involution.ops.axes import merge_pixels
from involution.ops.geometry import check_map


def carafe(features: Tensor, masks: Tensor, kernel_size: int, group_size: int = 1, scale_factor: int = 1) -> Tensor:
    """Content-aware reassembly: upsample by kernels of the output pixels.

        y[b,c,p] = Σ_o masks[b, (c·G//C)·K·K + o, p] · features[b, c, ⌊p/s⌋ + o]

    Wang et al., "CARAFE: Content-Aware ReAssembly of FEatures", ICCV 2019; the signature of `mmcv.ops.carafe`,
    which needs a GPU and an odd window.

    Args:
        features: [B, C, H, W].
        masks: [B, G·K·K, s·H, s·W], normalized over the K·K offsets, dtype and device of `features`.
        kernel_size: K, odd.
        group_size: G, a divisor of C; a group is C/G neighbouring channels.
        scale_factor: s.

    Returns:
        [B, C, s·H, s·W].

    Raises:
        ValueError: `masks` does not have G·K·K channels, or as in `involution2d`.

    >>> masks = torch.rand(1, 25, 14, 16).softmax(1)
    >>> carafe(torch.rand(1, 8, 7, 8), masks, kernel_size=5, scale_factor=2).shape
    torch.Size([1, 8, 14, 16])
    """
    check_map("masks", masks, 2)
    if masks.shape[1] != group_size * kernel_size**2:
        raise ValueError(
            f"masks: expected the {group_size * kernel_size**2} channels of group_size {group_size} and kernel_size "
            f"{kernel_size}, got {masks.shape[1]}"
        )
    kernel = masks.unflatten(1, (group_size, kernel_size, kernel_size))
    return involution2d(features, kernel, scale=scale_factor)


class CARAFE(nn.Module):
    """`CARAFEPack` of mmcv: predict the kernels from the features, normalize them, upsample.

    The parameters have the names of mmcv's module, so that its checkpoints load.

    Args:
        channels: C of the features.
        scale_factor: s.
        up_kernel: K, the window of the upsampling, odd.
        up_group: G.
        encoder_kernel, encoder_dilation: of the convolution that predicts the kernels.
        compressed_channels: of the 1x1 convolution before it.

    Shapes: [B, C, H, W] to [B, C, s·H, s·W].

    >>> CARAFE(16, scale_factor=2)(torch.rand(1, 16, 7, 8)).shape
    torch.Size([1, 16, 14, 16])
    """

    def __init__(
        self,
        channels: int,
        scale_factor: int,
        up_kernel: int = 5,
        up_group: int = 1,
        encoder_kernel: int = 3,
        encoder_dilation: int = 1,
        compressed_channels: int = 64,
    ) -> None:
        super().__init__()
        self.scale_factor, self.up_kernel, self.up_group = scale_factor, up_kernel, up_group
        self.channel_compressor = nn.Conv2d(channels, compressed_channels, 1)
        self.content_encoder = nn.Conv2d(
            compressed_channels,
            up_kernel**2 * up_group * scale_factor**2,
            encoder_kernel,
            padding=(encoder_kernel - 1) * encoder_dilation // 2,
            dilation=encoder_dilation,
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Initialize as mmcv does."""
        nn.init.xavier_uniform_(self.channel_compressor.weight)
        nn.init.normal_(self.content_encoder.weight, std=0.001)
        for convolution in (self.channel_compressor, self.content_encoder):
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)

    def masks(self, x: Tensor) -> Tensor:
        """Return the normalized kernels, [B, G·K·K, s·H, s·W]."""
        logits = F.pixel_shuffle(self.content_encoder(self.channel_compressor(x)), self.scale_factor)
        return logits.unflatten(1, (self.up_group, self.up_kernel**2)).softmax(2).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return carafe(x, self.masks(x), self.up_kernel, self.up_group, self.scale_factor)


def convex_upsample(flow: Tensor, up_mask: Tensor, factor: int = 8) -> Tensor:
    """Upsample optical flow: every output vector is a convex combination of the 3x3 coarse vectors around it.

        y[b,c,p] = s · Σ_o softmax_o(up_mask)[b, o, p] · flow[b, c, ⌊p/s⌋ + o]

    Teed and Deng, "RAFT", ECCV 2020; the signature of torchvision's `upsample_flow`, which copies
    the windows.

    Args:
        flow: [B, C, H, W], in pixels of its own size; C is 2.
        up_mask: [B, 9·s·s, H, W]: logits, channel (o·s + i)·s + j for offset o and output pixel (i, j) of the s·s.
        factor: s.

    Returns:
        [B, C, s·H, s·W], in pixels of the output.

    Raises:
        ValueError: `up_mask` does not have 9·s·s channels, or as in `involution2d`.

    >>> convex_upsample(torch.rand(1, 2, 6, 7), torch.rand(1, 576, 6, 7)).shape
    torch.Size([1, 2, 48, 56])
    """
    check_map("flow", flow, 2)
    check_map("up_mask", up_mask, 2)
    if up_mask.shape[1] != 9 * factor**2:
        raise ValueError(f"up_mask: expected the {9 * factor**2} channels of factor {factor}, got {up_mask.shape[1]}")
    scores = up_mask.unflatten(1, (1, 3, 3, factor, factor)).permute(0, 1, 2, 3, 6, 4, 7, 5)  # [..., H, s, W, s]
    pair = [1, 1]
    return merge_pixels(torch.ops.involution.involution2d_softmax(factor * flow, scores, pair, pair, pair))
