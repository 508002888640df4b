"""Generated kernels at chosen pixels, beside the mean kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from involution.visualize import colors
from involution.visualize.generated import Generated
from involution.visualize.sheet import show_image

GAP = 1  # cells between two kernels


def draw_kernels(
    image: Tensor, generated: Generated, pixels: Sequence[tuple[float, float]], groups: int = 8, title: str = ""
) -> Figure:
    """Draw the kernels of one image at chosen pixels, a row per pixel and a column per group.

    The last row is the mean of the generated kernels over the image: the fixed kernel, as a convolution has, that is
    nearest to them in squared error. On the image, each window carries the number of its pixel.

    Args:
        image: [C, H, W] in [0, 1], RGB or grey.
        generated: the kernels of one layer for this image, from `capture`.
        pixels: (x, y), in pixels of the image; (0, 0) is the centre of the first pixel.
        groups: largest number of columns.
        title: of the figure, such as the name of the layer.

    Raises:
        ValueError: `pixels` is empty, or one of them is outside the image.

    >>> from involution import Involution2d
    >>> from involution.visualize import capture
    >>> (layer,) = capture(Involution2d(64), torch.rand(1, 64, 20, 30))[0].values()
    >>> [axis.get_title() for axis in draw_kernels(torch.rand(3, 40, 60), layer, [(10, 20)]).axes[:2]]
    ['image', 'generated kernels, 7 x 7']
    """
    height, width = image.shape[-2:]
    if not pixels:
        raise ValueError("pixel: expected at least one, got none")
    for x, y in pixels:
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise ValueError(f"pixel: expected X in 0 to {width - 1} and Y in 0 to {height - 1}, got {x:g} {y:g}")
    places = [generated.pixel((x + 0.5) / width, (y + 0.5) / height) for x, y in pixels]
    kernel = generated.kernel[0, :groups].float()  # [G, Kh, Kw, Ho, Wo]
    rows = torch.stack([*(kernel[..., i, j] for i, j in places), kernel.mean((3, 4))])
    kh, kw = rows.shape[2:]
    end = rows.abs().max().item() or 1.0

    cell = 0.085  # inches
    sheet = cell * len(rows[0]) * (kw + GAP), cell * len(rows) * (kh + GAP)
    picture = min(sheet[1] * width / height, 6)
    figure = Figure(figsize=(picture + max(sheet[0], 1.6) + 1.0, sheet[1] + 1.2), layout="constrained")
    grid = {"width_ratios": (picture, max(sheet[0], 1.6)), "height_ratios": (1, 0.03)}
    (left, right), (nothing, scale) = figure.subplots(2, 2, gridspec_kw=grid)
    nothing.set_axis_off()
    show_image(left, image)
    left.set_title("image", fontsize=8)
    left.set_axis_off()
    for number, (i, j) in enumerate(places, start=1):
        _mark(left, generated.window(i, j), (width, height), str(number))
    right.imshow(mosaic(rows, end))
    for r in range(len(rows)):
        for g in range(len(rows[0])):
            corner = g * (kw + GAP) - 0.5, r * (kh + GAP) - 0.5
            right.add_patch(Rectangle(corner, kw, kh, fill=False, edgecolor="0.6", linewidth=0.6, clip_on=False))
    right.set_title(f"generated kernels, {kh} x {kw}", fontsize=8)
    names = [*(f"pixel {n}" for n in range(1, len(rows))), "mean over\nthe image"]
    right.set_yticks([r * (kh + GAP) + kh / 2 - 0.5 for r in range(len(rows))], names, fontsize=7)
    right.set_xticks([g * (kw + GAP) + kw / 2 - 0.5 for g in range(len(rows[0]))], range(len(rows[0])), fontsize=7)
    right.set_xlabel("group", fontsize=7)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    colors.bar(figure, scale, end, "weight of a tap")
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def mosaic(kernels: Tensor, end: float) -> NDArray[np.uint8]:
    """Return the colours of [rows, columns, Kh, Kw], kernels side by side with white gaps: [H, W, 3]."""
    rows, columns, kh, kw = kernels.shape
    tiles = np.full((rows, columns, kh + GAP, kw + GAP, 3), 255, np.uint8)
    tiles[:, :, :kh, :kw] = colors.colors(kernels, end)
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * (kh + GAP), columns * (kw + GAP), 3)[:-GAP, :-GAP]


def _mark(axis: Axes, window: Tensor, size: tuple[int, int], text: str) -> None:
    """Outline a window, [Kh, Kw, 4], and number it."""
    width, height = size
    (left, top), (right, bottom) = window[0, 0, :2].tolist(), window[-1, -1, 2:].tolist()
    outline: dict[str, Any] = {"fill": False, "clip_on": True}
    corner, extent = (left * width - 0.5, top * height - 0.5), ((right - left) * width, (bottom - top) * height)
    axis.add_patch(Rectangle(corner, *extent, edgecolor="black", linewidth=2.2, **outline))
    axis.add_patch(Rectangle(corner, *extent, edgecolor="white", linewidth=1.0, **outline))
    edge = [patheffects.withStroke(linewidth=2, foreground="black")]
    center = ((left + right) / 2 * width - 0.5, (top + bottom) / 2 * height - 0.5)
    axis.text(*center, text, color="white", fontsize=7, ha="center", va="center", path_effects=edge, clip_on=True)
