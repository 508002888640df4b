"""Pictures of generated kernels and learning curves."""

from involution.visualize.curves import draw_curves, read_curves
from involution.visualize.generated import Generated, capture, heat_maps, kernels
from involution.visualize.pixels import draw_kernels
from involution.visualize.sheet import draw_heat_maps

__all__ = [
    "Generated",
    "capture",
    "draw_curves",
    "draw_heat_maps",
    "draw_kernels",
    "heat_maps",
    "kernels",
    "read_curves",
]
