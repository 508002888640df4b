"""The decoder of Semantic FPN: all levels of the pyramid are upsampled to stride 4 in steps of two and summed.

Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, section 3.1, with batch norm as in the released
segmentors. The FPN of segmentation-models-pytorch differs: it has group norm, aligns corners in upsampling, and has no
3x3 convolution in the pyramid, where our neck has its layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from involution.models.skeleton.stages import initialize
from involution.models.skeleton.stems import conv_norm_act

STEPS = (0, 1, 2, 3)
"""Number of upsampling steps of the maps of stride 4, 8, 16 and 32."""


class SemanticFPNHead(nn.Module):
    """Blocks of [3x3 convolution – norm – ReLU – bilinear x2] on every level, a sum, and a 1x1 classifier.

    The level of stride 4 has one such block without upsampling.

    Args:
        in_channels: of the four maps.
        channels: of the blocks.
        num_classes: of the output.
        dropout: probability that a channel of the sum is zeroed in training.

    Shape:
        four maps [B, in_channels, ⌈H / 4⌉, ⌈W / 4⌉] to [B, in_channels, ⌈H / 32⌉, ⌈W / 32⌉]
        → [B, num_classes, ⌈H / 4⌉, ⌈W / 4⌉].
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.scale_heads = nn.ModuleList()
        for steps in STEPS:
            layers: list[nn.Module] = []
            for block in range(max(steps, 1)):
                width = channels if block else in_channels
                layers.append(conv_norm_act(width, channels, 3, 1, nn.BatchNorm2d, nn.ReLU))
                if steps:
                    layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.scale_heads.append(nn.Sequential(*layers))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        initialize(self)
        nn.init.normal_(self.conv_seg.weight, std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        y, *coarser = (head(x) for head, x in zip(self.scale_heads, maps, strict=True))
        for x in coarser:
            # Upsampled maps are a few pixels larger than the finest one if its size is not a multiple of 8.
            y = y + F.interpolate(x, y.shape[-2:], mode="bilinear", align_corners=False)
        return self.conv_seg(self.dropout(y))
