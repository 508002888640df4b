"""SAN: pre-activation blocks with pairwise or patchwise self-attention.

Zhao, Jia and Koltun, "Exploring Self-attention for Image Recognition", CVPR 2020, table 1.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import DropPath, calculate_drop_path_rates
from timm.models import register_model, register_notrace_module
from torch import Tensor, nn

from involution.layers.attention.san import SANPairwise2d, SANPatchwise2d
from involution.models.skeleton.registration import configurations, create
from involution.models.skeleton.stages import Stages, plan, scale_widths

STEM_WIDTH = 64
WIDTHS = (64, 256, 512, 1024, 2048)
"""Of the five stages. The first is part of our stem, because timm's features begin at stride 4."""

DEPTHS = {10: (2, 1, 2, 4, 1), 15: (3, 2, 3, 5, 2), 19: (3, 3, 4, 6, 3)}
ATTENTIONS = {"pairwise": SANPairwise2d, "patchwise": SANPatchwise2d}

for _attention in ATTENTIONS.values():
    register_notrace_module(_attention)  # they check the size of the map


class SANBlock(nn.Module):
    """Norm, ReLU, attention to a quarter of the channels, norm, ReLU, 1x1 convolution, around an identity."""

    def __init__(self, channels: int, attention: nn.Module, drop_path: float, **factory: Any) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels, **factory)
        self.attention = attention
        self.bn2 = nn.BatchNorm2d(channels // 4, **factory)
        self.conv = nn.Conv2d(channels // 4, channels, 1, **factory)
        self.act = nn.ReLU(inplace=True)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(self.act(self.bn1(x)))
        return x + self.drop_path(self.conv(self.act(self.bn2(y))))


class SAN(Stages):
    """SAN with pairwise or patchwise self-attention.

    Weights keep PyTorch's default initialization, as in the authors' code. Maps are padded by reflection, which needs
    more than 3 pixels per axis in the last stage; the image must have at least 128 pixels per axis.

    Args:
        depth: 10, 15 or 19.
        attention: "pairwise" or "patchwise".
        width_factor: factor of all widths, see `scale_widths`.
        in_chans: channels of the image.
        drop_path_rate: stochastic depth of the last block, increasing linearly from 0 at the first.
        kwargs: passed to `Stages`.

    Raises:
        ValueError: `depth`, `attention` or `width_factor` is not one of the above.
    """

    def __init__(
        self,
        depth: int = 10,
        attention: str = "pairwise",
        width_factor: float = 1.0,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        if attention not in ATTENTIONS:
            raise ValueError(f"attention: expected one of {sorted(ATTENTIONS)}, got {attention!r}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        depths = plan(depth, DEPTHS)
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stem_width, *widths = scale_widths((STEM_WIDTH, *WIDTHS), width_factor)
        channels = stem_width
        stages: list[nn.Sequential] = []
        for blocks, width in zip(depths, widths, strict=True):
            layers: list[nn.Module] = [nn.MaxPool2d(2), nn.Conv2d(channels, width, 1, bias=False, **factory)]
            for _ in range(blocks):
                layer = ATTENTIONS[attention](width, 7 if stages else 3, **factory)
                layers.append(SANBlock(width, layer, next(rates), **factory))
            layers.append(nn.Sequential(nn.BatchNorm2d(width, **factory), nn.ReLU(inplace=True)))
            stages.append(nn.Sequential(*layers))
            channels = width
        stem = nn.Sequential(
            nn.Conv2d(in_chans, stem_width, 1, bias=False, **factory),
            nn.BatchNorm2d(stem_width, **factory),
            nn.ReLU(inplace=True),
            stages[0],
        )
        super().__init__(stem, stages[1:], widths[1:], in_chans=in_chans, **factory, **kwargs)


default_cfgs = configurations(
    (f"san{depth}_{attention}" for depth in DEPTHS for attention in ATTENTIONS),
    first_conv="stem.0",
    min_input_size=(3, 128, 128),
)


@register_model
def san10_pairwise(pretrained: bool = False, **kwargs: Any) -> SAN:
    """SAN-10 with pairwise self-attention."""
    return create(SAN, "san10_pairwise", pretrained, depth=10, attention="pairwise", **kwargs)


@register_model
def san10_patchwise(pretrained: bool = False, **kwargs: Any) -> SAN:
    """SAN-10 with patchwise self-attention."""
    return create(SAN, "san10_patchwise", pretrained, depth=10, attention="patchwise", **kwargs)


@register_model
def san15_pairwise(pretrained: bool = False, **kwargs: Any) -> SAN:
    """SAN-15 with pairwise self-attention."""
    return create(SAN, "san15_pairwise", pretrained, depth=15, attention="pairwise", **kwargs)


@register_model
def san15_patchwise(pretrained: bool = False, **kwargs: Any) -> SAN:
    """SAN-15 with patchwise self-attention."""
    return create(SAN, "san15_patchwise", pretrained, depth=15, attention="patchwise", **kwargs)


@register_model
def san19_pairwise(pretrained: bool = False, **kwargs: Any) -> SAN:
    """SAN-19 with pairwise self-attention."""
    return create(SAN, "san19_pairwise", pretrained, depth=19, attention="pairwise", **kwargs)


@register_model
def san19_patchwise(pretrained: bool = False, **kwargs: Any) -> SAN:
    """SAN-19 with patchwise self-attention."""
    return create(SAN, "san19_patchwise", pretrained, depth=19, attention="patchwise", **kwargs)
