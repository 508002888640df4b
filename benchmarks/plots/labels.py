"""Names beside points that overlap neither a point nor one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

SIZE = 6.0
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
DISTANCES = (5, 10, 16, 24, 34)


def place(axes: Axes, named: Sequence[tuple[str, float, float]], points: Sequence[tuple[float, float]]) -> None:
    """Write each name at the nearest free place around its point, with a line to it where that is not beside it.

    Args:
        axes: with its limits and scales set; the figure is drawn once to learn its size.
        named: name, x and y.
        points: everything that may not be covered, in units of the axes.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    dots = figure.dpi / 72
    taken = [Bbox.from_bounds(x - 3 * dots, y - 3 * dots, 6 * dots, 6 * dots) for x, y in _pixels(axes, points)]
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent(renderer))
    frame = axes.get_window_extent(renderer)
    for name, x, y in named:
        for distance, (right, above) in ((d, side) for d in DISTANCES for side in DIRECTIONS):
            text = axes.annotate(
                name,
                (x, y),
                (distance * right, distance * above),
                textcoords="offset points",
                ha={1: "left", 0: "center", -1: "right"}[right],
                va={1: "bottom", 0: "center", -1: "top"}[above],
                fontsize=SIZE,
                color="0.3",
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "0.6"} if distance > DISTANCES[1] else None,
            )
            box = text.get_window_extent(renderer) if text.arrow_patch is None else _text_box(text, renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _text_box(text: object, renderer: object) -> Bbox:
    from matplotlib.text import Text

    return Text.get_window_extent(text, renderer)  # type: ignore[arg-type]


def _pixels(axes: Axes, points: Sequence[tuple[float, float]]) -> np.ndarray:
    return axes.transData.transform(np.asarray(points))
