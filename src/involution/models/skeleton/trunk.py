"""ResNet's bottlenecks with an exchangeable mixer in place of the 3x3 convolution.

ResNet, RedNet and most networks of the comparison differ only in that mixer. A network that differs in more derives
from `Stages` directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers import DropPath, calculate_drop_path_rates, get_act_layer, get_norm_layer
from torch import Tensor, nn

from involution.layers.conv import conv
from involution.layers.norm import NormActSequential, norm_act
from involution.layers.shortcut import conv_shortcut
from involution.models.skeleton.stages import Stages, initialize, scale_widths

Layer = Callable[..., nn.Module]
Mixer = Callable[[int, int, int], nn.Module]
"""(channels, stride, dilation) → module that maps [B, C, H, W] to [B, C, ⌈H/stride⌉, ⌈W/stride⌉]."""

Stem = Callable[..., nn.Module]
"""(in_chans, width, stride, norm_layer, act_layer, **factory) → module that maps the image to `width` channels."""

DEPTHS = {26: (1, 2, 4, 1), 38: (2, 3, 5, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks per stage; Li et al., 2021, section 4.1, following He et al., 2016."""

STEM_WIDTH = 64
WIDTHS = (256, 512, 1024, 2048)
MID_WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """1x1 convolution – mixer – 1x1 convolution, each followed by a norm and an activation, and a shortcut."""

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        mixer: nn.Module,
        downsample: nn.Module | None,
        drop_path: float,
        norm_layer: Layer,
        act_layer: Layer,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, mid_channels, 1, bias=False, **factory)
        self.bn1 = norm_layer(mid_channels, **factory)
        self.act1 = act_layer(inplace=True)
        self.conv2 = mixer
        self.bn2 = norm_layer(mid_channels, **factory)
        self.act2 = act_layer(inplace=True)
        self.conv3 = nn.Conv2d(mid_channels, out_channels, 1, bias=False, **factory)
        self.bn3 = norm_layer(out_channels, **factory)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.act3 = act_layer(inplace=True)
        self.downsample = downsample or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_scripting():  # TorchScript compiles no function of modules
            y = self.act1(self.bn1(self.conv1(x)))
            y = self.act2(self.bn2(self.conv2(y)))
            return self.act3(self.drop_path(self.bn3(self.conv3(y))).add_(self.downsample(x)))
        else:
            y, shortcut = conv_shortcut(self.conv1, self.downsample, x)
            y = norm_act(y, self.bn1, self.act1)
            y = norm_act(self.conv2(y), self.bn2, self.act2)
            return norm_act(conv(self.conv3, y), self.bn3, self.act3, shortcut, self.drop_path)


class Trunk(Stages):
    """A stem, four stages of bottlenecks and a linear classifier, with the interface of a timm model.

    Args:
        depths: blocks per stage.
        mixer: returns the layer in the middle of a bottleneck.
        stem: returns the layers before the first stage.
        stem_stride: stride of the stem including its max pooling: 4 for images of about 224 pixels, 2 (without max
            pooling) for 64 pixels, 1 (without any stride) for 32 pixels.
        stem_pool: whether half of a `stem_stride` of 4 is a 3x3 max pooling after the stem.
        mid_widths: channels of the mixers in the four stages, in the full width.
        width_factor: factor of all widths, see `scale_widths`.
        output_stride: 32, 16 or 8, for a `stem_stride` of 4. With 16 or 8, later stages dilate their mixers instead of
            striding.
        drop_path_rate: stochastic depth of the last block, increasing linearly from 0 at the first.
        norm_layer, act_layer: of stem and bottlenecks, a layer or timm's name of it; mixers have their own.
        zero_init_last: set the weight of the last norm of every bottleneck to 0, so that it starts as the identity.
        kwargs: passed to `Stages`.

    Raises:
        ValueError: `stem_stride`, `output_stride` or `width_factor` is not one of the above.
    """

    def __init__(
        self,
        depths: Sequence[int],
        mixer: Mixer,
        stem: Stem,
        stem_stride: int = 4,
        stem_pool: bool = True,
        mid_widths: Sequence[int] = MID_WIDTHS,
        width_factor: float = 1.0,
        output_stride: int = 32,
        drop_path_rate: float = 0.0,
        in_chans: int = 3,
        norm_layer: str | Layer = nn.BatchNorm2d,
        act_layer: str | Layer = nn.ReLU,
        zero_init_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride: expected 8, 16 or 32, got {output_stride}")
        if stem_stride not in (1, 2, 4):
            raise ValueError(f"stem_stride: expected 1, 2 or 4, got {stem_stride}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        norm, act = get_norm_layer(norm_layer), get_act_layer(act_layer)
        stem_pool = stem_pool and stem_stride == 4
        stages: list[nn.Sequential] = []
        reductions = []
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stem_width, *widths = scale_widths((STEM_WIDTH, *WIDTHS), width_factor)
        mids = scale_widths(mid_widths, width_factor)
        channels, net_stride, dilation = stem_width, stem_stride, 1
        for depth, mid, width in zip(depths, mids, widths, strict=True):
            stride, first_dilation = (2 if stages else 1), dilation
            if net_stride * stride > output_stride * stem_stride // 4:
                dilation, stride = dilation * stride, 1
            net_stride *= stride
            mixers = [mixer(mid, stride, first_dilation), *(mixer(mid, 1, dilation) for _ in range(depth - 1))]
            blocks: list[nn.Module] = []
            for layer in mixers:
                shortcut = None if blocks else _projection(channels, width, stride, norm, **factory)
                layers: tuple[Any, ...] = (layer, shortcut, next(rates), norm, act)
                blocks.append(Bottleneck(channels, mid, width, *layers, **factory))
                channels = width
            stages.append(nn.Sequential(*blocks))
            reductions.append(net_stride)
        first = stem(in_chans, stem_width, stem_stride // 2 if stem_pool else stem_stride, norm, act, **factory)
        super().__init__(first, stages, widths, reductions, stem_pool, in_chans=in_chans, **factory, **kwargs)
        self.init_weights(zero_init_last)

    @torch.jit.ignore
    def init_weights(self, zero_init_last: bool = True) -> None:
        """Initialize as the released code does: see `initialize`; the weight of last norms is 0 if `zero_init_last`."""
        initialize(self)
        for module in self.modules():
            if isinstance(module, Bottleneck) and zero_init_last:
                assert isinstance(module.bn3.weight, Tensor)
                nn.init.zeros_(module.bn3.weight)


def _projection(in_channels: int, out_channels: int, stride: int, norm_layer: Layer, **factory: Any) -> nn.Module:
    return NormActSequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False, **factory),
        norm_layer(out_channels, **factory),
    )
