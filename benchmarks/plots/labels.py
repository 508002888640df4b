"""Labels of points, placed without overlap with marks, lines and other labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

SIZE = 6.0
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
DISTANCES = (5, 9, 14, 20, 28, 38)
MARK = 6.0
"""Side of the square that a mark takes, in points."""

GAP = 3.0
"""Pixels around a label, since the fonts of a browser are not those that it was placed with."""

Point = tuple[float, float]


def place(
    axes: Axes, named: Sequence[tuple[str, float, float]], marks: Sequence[Point], lines: Sequence[Sequence[Point]] = ()
) -> None:
    """Place each label at the nearest free position around its point, with a leader line if it is not adjacent.

    Args:
        axes: axes with limits, scales and legend; the figure is drawn once to determine its size.
        named: name, x and y of each point.
        marks: points that no label may cover, in units of the axes.
        lines: polylines that no label may cover.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    taken = list(_boxes(axes, marks, MARK * figure.dpi / 72))
    for line in lines:
        taken += _boxes(axes, line, MARK * figure.dpi / 72)
        taken += _boxes(axes, _along(axes, line), 1.0)
    if legend := axes.get_legend():
        taken.append(legend.get_window_extent(renderer))
    frame = axes.get_window_extent(renderer)
    for name, x, y in named:
        for distance, side in ((d, s) for d in DISTANCES for s in DIRECTIONS):
            text = _write(axes, name, (x, y), distance, side)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer).padded(GAP)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _write(axes: Axes, name: str, point: Point, distance: int, side: tuple[int, int]) -> Annotation:
    leader = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.6", "shrinkA": 0, "shrinkB": 2}
    return axes.annotate(
        name,
        point,
        (distance * side[0], distance * side[1]),
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[side[0]],
        va={1: "bottom", 0: "center", -1: "top"}[side[1]],
        fontsize=SIZE,
        color="0.3",
        arrowprops=leader if distance > DISTANCES[0] else None,
    )


def _boxes(axes: Axes, points: Sequence[Point], side: float) -> Iterator[Bbox]:
    """Yield a square around every point, in pixels."""
    for x, y in axes.transData.transform(np.asarray(points)) if len(points) else ():
        yield Bbox.from_bounds(x - side / 2, y - side / 2, side, side)


def _along(axes: Axes, line: Sequence[Point]) -> Sequence[Point]:
    """Return points along a polyline that is straight on the page, three pixels apart or less."""
    corners = axes.transData.transform(np.asarray(line))
    pieces = [
        np.linspace(start, end, 2 + int(np.hypot(*(end - start)) // 3)) for start, end in itertools.pairwise(corners)
    ]
    return [(float(x), float(y)) for x, y in axes.transData.inverted().transform(np.concatenate(pieces))]
