"""The feature pyramid, with one hole: the layer that gives the output of every level.

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
"""What may stand in the hole of a neck or a head, by its name: channels → module that keeps channels and size."""


def local_layer(name: str, channels: int, argument: str = "neck") -> nn.Module:
    """Return the layer called `name` in `LAYERS`.

    Raises:
        ValueError: there is none; the message begins with `argument`.
    """
    if name not in LAYERS:
        raise ValueError(f"{argument}: expected one of {', '.join(LAYERS)}, got {name!r}")
    return LAYERS[name](channels)


class FeaturePyramid(FeaturePyramidNetwork):  # type: ignore[misc]  # torchvision has no types
    """Maps of all stages, each with what the coarser ones know, in the same number of channels.

        P(i) = layer(M(i))        M(i) = conv1x1(C(i)) + nearest(M(i + 1))

    Args:
        in_channels: of the maps C, the finest first.
        channels: of the maps P.
        neck: the layer, "convolution" (3x3) or "involution" (7x7, 16 channels a group, reduction 4); neither norm nor
            activation follows it.
        extra_levels: makes further, coarser maps; `LastLevelMaxPool` or `ExtraConvolutions`.

    Shape:
        [B, in_channels(i), H(i), W(i)] per stage → [B, channels, H(i), W(i)] per stage, and the further ones.

    Raises:
        ValueError: there is no such neck, or an involution does not divide the channels.

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
        # Each in a sequential, as torchvision's own, so that weights of its detectors fit.
        self.layer_blocks = nn.ModuleList(nn.Sequential(local_layer(neck, channels)) for _ in in_channels)
        self.extra_blocks = extra_levels
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all convolutions, those of involutions too, from the uniform distribution of Xavier; zero the biases."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return list(super().forward({str(level): x for level, x in enumerate(maps)}).values())


class ExtraConvolutions(ExtraFPNBlock):  # type: ignore[misc]
    """RetinaNet's two further levels: 3x3 convolutions of stride 2, of the last stage and then of the first of them.

    Unlike torchvision's, and as in the released RetinaNets, there is no ReLU between the two.
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
