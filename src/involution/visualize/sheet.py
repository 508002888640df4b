"""The paper's Figure 3: heat maps of the kernels' sums over the images, a row per image and a column per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from involution.visualize import colors


def draw_heat_maps(images: Sequence[Tensor], maps: Mapping[str, Sequence[Tensor]], groups: int = 4) -> Figure:
    r"""Draw one row per image: the image, then the maps of the first groups of every layer over the image.

    Red is positive, blue negative, white zero. Every column has its own scale, the same for all images.

    Args:
        images: each [C, H, W] in [0, 1], RGB or grey; [B, C, H, W] is accepted.
        maps: by the name of the layer, one map [G, H', W'] per image; from `heat_maps`.
        groups: largest number of groups per layer.

    Raises:
        ValueError: there is no image, or a layer does not have one map per image.

    >>> import torch
    >>> draw_heat_maps(torch.rand(2, 3, 32, 48), {"layer": torch.randn(2, 4, 8, 12)}).axes[1].get_title()
    'layer\ngroup 0'
    """
    if not len(images):
        raise ValueError("images: expected at least one, got none")
    for name, layer in maps.items():
        if len(layer) != len(images):
            raise ValueError(f"maps: expected one of {name} for each of {len(images)} images, got {len(layer)}")
    panels = [(name, g) for name, layer in maps.items() for g in range(min(groups, len(layer[0])))]
    shapes = [image.shape[-2] / image.shape[-1] for image in images]
    side = 1.35  # inches, of a panel
    scale = 0.08  # height of the colour scale, in widths of a panel
    figure = Figure(figsize=(side * (1 + len(panels)), (side - 0.2) * (sum(shapes) + scale) + 0.8), layout="compressed")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.02, hspace=0, wspace=0)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(len(images) + 1, 1 + len(panels), squeeze=False, height_ratios=[*shapes, scale])
    for row, image in enumerate(images):
        show_image(axes[row, 0], image)
    axes[0, 0].set_title("image\n", fontsize=8)  # as high as the others
    for column, (name, g) in enumerate(panels, start=1):
        end = max(colors.limit(heat[g]) for heat in maps[name])
        for row, image in enumerate(images):
            axes[row, column].imshow(colors.over(image, maps[name][row][g], end))
        axes[0, column].set_title(f"{name}\ngroup {g}", fontsize=min(8, 150 / len(name)) if name else 8)  # fits
        colors.bar(figure, axes[-1, column], end, "sum of the kernel")
    for axis in (*axes[:-1].flat, axes[-1, 0]):
        axis.set_axis_off()
    return figure


def show_image(axis: Axes, image: Tensor) -> None:
    """Draw an image, [C, H, W] in [0, 1]."""
    pixels = image.detach().float().clamp(0, 1).movedim(0, 2).expand(-1, -1, 3)
    axis.imshow(pixels.cpu().numpy())
