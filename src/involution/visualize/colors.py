"""A diverging, colour-blind safe colour scale for signed values: red positive, blue negative, white zero."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

MAP = matplotlib.colormaps["RdBu_r"]  # ColorBrewer's
QUANTILE = 0.99  # of the absolute values; larger ones, mostly at the image border, get the last colour


def limit(values: Tensor) -> float:
    """Return the limit of a symmetric colour scale for these values."""
    largest = values.detach().float().abs().flatten().quantile(QUANTILE).item() if values.numel() else 0.0
    return largest or 1.0


def colors(values: Tensor, end: float) -> NDArray[np.uint8]:
    """Return [..., 3], the colours of values on a scale from −end to end."""
    scaled = (values.detach().float().cpu().numpy() / end + 1) / 2
    return np.asarray(MAP(scaled, bytes=True))[..., :3]


def over(image: Tensor, heat: Tensor, end: float) -> NDArray[np.uint8]:
    """Draw a heat map over its image: the colour shows the map, the lightness the image.

    Args:
        image: [C, H, W] in [0, 1], RGB or grey.
        heat: [H', W'], resized bilinearly to the image.
        end: limit of the colour scale.

    Returns:
        [H, W, 3].
    """
    resized = F.interpolate(heat[None, None].float(), list(image.shape[-2:]), mode="bilinear")[0, 0]
    weights = image.new_tensor([0.299, 0.587, 0.114] if image.shape[0] == 3 else [1.0])
    light = 0.7 + 0.3 * (weights @ image.float().flatten(1)).reshape(image.shape[1:])
    return (colors(resized, end) * light.cpu().numpy()[..., None]).astype(np.uint8)


def bar(figure: Figure, axes: Axes, end: float, label: str) -> None:
    """Draw the colour bar, from −end to end, into `axes`."""
    shown = figure.colorbar(ScalarMappable(Normalize(-end, end), MAP), cax=axes, orientation="horizontal")
    shown.set_ticks([-end, 0, end], labels=[f"−{end:.2g}", "0", f"{end:.2g}"])
    shown.ax.tick_params(labelsize=6, length=2)
    shown.set_label(label, fontsize=6)
    shown.outline.set_linewidth(0.4)
