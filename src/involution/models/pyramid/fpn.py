"""The feature pyramid with an exchangeable output layer.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section 3; with involutions, Li et al.,
"Involution", CVPR 2021, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool

from involution.layers import Involution2d

__all__ = ["LAYERS", "ExtraConvolutions", "FeaturePyramid", "LastLevelMaxPool", "local_layer"]

LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "convolution": lambda channels: nn.Conv2d(channels, channels, 3, padding=1),
    "involution": Involution2d,
}
"""Layers of necks and heads by name: channels → module that keeps number of channels and size."""


def local_layer(name: str, channels: int, argument: str = "neck") -> nn.Module:
    """Return the layer called `name` in `LAYERS`.

    Raises:
        ValueError: there is no such layer; the message begins with `argument`.
    """
    if name not in LAYERS:
        raise ValueError(f"{argument}: expected one of {', '.join(LAYERS)}, got {name!r}")
    return LAYERS[name](channels)


class FeaturePyramid(FeaturePyramidNetwork):  # type: ignore[misc]  # torchvision has no types
    """Feature maps of all stages, combined from coarse to fine, with the same number of channels.

        P(i) = layer(M(i))        M(i) = conv1x1(C(i)) + nearest(M(i + 1))

    Args:
        in_channels: of the maps C, finest first.
        channels: of the maps P.
        neck: the layer, "convolution" (3x3) or "involution" (7x7, 16 channels per group, reduction 4), without norm
            and activation.
        extra_levels: adds coarser maps; `LastLevelMaxPool` or `ExtraConvolutions`.

    Shape:
        [B, in_channels(i), H(i), W(i)] per stage → [B, channels, H(i), W(i)] per stage, and the extra levels.

    Raises:
        ValueError: there is no such neck, or the number of channels does not suit an involution.

    >>> import torch
    >>> pyramid = FeaturePyramid([256, 512], channels=64, neck="involution")
    >>> [tuple(y.shape) for y in pyramid([torch.rand(2, 256, 16, 12), torch.rand(2, 512, 8, 6)])]
    [(2, 64, 16, 12), (2, 64, 8, 6)]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        neck: str = "convolution",
        extra_levels: ExtraFPNBlock | None = None,
    ) -> None:
        super().__init__(list(in_channels), channels)
        self.out_channels = channels
        # Each in a sequential, as in torchvision, so that weights of its detectors fit.
        self.layer_blocks = nn.ModuleList(nn.Sequential(local_layer(neck, channels)) for _ in in_channels)
        self.extra_blocks = extra_levels
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all convolutions, also those in involutions, from Xavier's uniform distribution; set biases to zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return list(super().forward({str(level): x for level, x in enumerate(maps)}).values())


class ExtraConvolutions(ExtraFPNBlock):  # type: ignore[misc]
    """RetinaNet's two extra levels: 3x3 convolutions of stride 2, applied to the last stage one after the other.

    As in the released RetinaNets, and unlike in torchvision, there is no ReLU between them.
    """

    def __init__(self, in_channels: int, channels: int = 256) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, channels, 3, stride=2, padding=1) for c in (in_channels, channels))

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        last = x[-1]
        for conv in self.convs:
            last = conv(last)
            results.append(last)
            names.append(f"extra{len(names)}")
        return results, names
