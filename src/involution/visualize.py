"""What the generated kernels look like: the heat maps of the paper's Figure 3."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from involution.layers import Involution2d


@torch.no_grad()
def heat_maps(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Sum the kernel of every pixel over its window, in every involution that `model` applies to `images`.

        map[b, g, i, j] = Σ_{u,v} kernel[b, g, u, v, i, j]

    Li et al., "Involution", CVPR 2021, section 5 and Figure 3. The model is left in the mode that it was in.

    Args:
        model: called once, in evaluation mode.
        images: [B, C, H, W], what the model takes.

    Returns:
        For each involution, in the order of application, [B, G, Ho, Wo] under the name of the layer.

    >>> maps = heat_maps(nn.Sequential(Involution2d(32), Involution2d(32, stride=2)), torch.rand(1, 32, 9, 6))
    >>> {name: list(map.shape) for name, map in maps.items()}
    {'0': [1, 2, 9, 6], '1': [1, 2, 5, 3]}
    """
    maps: dict[str, Tensor] = {}

    def keep(name: str, layer: Involution2d, inputs: tuple[Any, ...]) -> None:
        maps[name] = layer.kernel(inputs[0]).sum((2, 3))

    layers = {name: module for name, module in model.named_modules() if isinstance(module, Involution2d)}
    hooks = [layer.register_forward_pre_hook(partial(keep, name)) for name, layer in layers.items()]
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return maps


def draw_heat_maps(images: Tensor, maps: Mapping[str, Tensor], groups: int = 4) -> Figure:
    """Draw one row per image: the image, and of every layer the maps of its first groups.

    Red is positive, blue negative, white zero; each group has a scale of its own, the same for all images.

    Args:
        images: [B, C, H, W] in [0, 1], RGB or grey.
        maps: of these images, from `heat_maps`.
        groups: of each layer, at most.
    """
    panels = [(name, g) for name, layer in maps.items() for g in range(min(groups, layer.shape[1]))]
    rows, columns = len(images), 1 + len(panels)
    figure = Figure(figsize=(1.1 * columns, 1.1 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, image in enumerate(images.cpu()):
        grey = image.shape[0] == 1
        axes[row, 0].imshow((image[0] if grey else image.movedim(0, 2)).numpy(), cmap="gray", vmin=0, vmax=1)
        for axis, (name, g) in zip(axes[row, 1:], panels, strict=True):
            limit = maps[name][:, g].abs().max().item()
            axis.imshow(maps[name][row, g].float().cpu().numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes[0, 0].set_title("image", fontsize=7)
    for axis, (name, g) in zip(axes[0, 1:], panels, strict=True):
        axis.set_title(f"{name}\ngroup {g}", fontsize=7)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure
