"""The kernels that a network generates for images, kept while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from involution.layers import Involution2d


@dataclass(frozen=True)
class Generated:
    """What one involution generated, and where its windows lie.

    Args:
        kernel: [B, G, Kh, Kw, Ho, Wo].
        extent: (H, W) of the layer's input, in its pixels, that the image covers: all of it, or in a detector the part
            that is not padding.
        stride, dilation, padding: of the layer, (vertical, horizontal), in pixels of its input.
    """

    kernel: Tensor
    extent: tuple[float, float]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """Return row and column of the kernel generated at a place of the image, x and y in [0, 1] of its size."""
        rows, columns = self.kernel.shape[-2:]
        row, column = y * self.extent[0] / self.stride[0], x * self.extent[1] / self.stride[1]
        return min(max(int(row), 0), rows - 1), min(max(int(column), 0), columns - 1)

    def window(self, row: int, column: int) -> Tensor:
        """Return where the taps of that kernel lie on the image: [Kh, Kw, 4], left, top, right and bottom of each.

        In parts of the image's width and height; outside [0, 1] is outside the image. A tap is as large as a pixel of
        the layer's input. What lies behind such a pixel, its receptive field, is larger.
        """
        kh, kw = self.kernel.shape[2:4]
        tops = torch.arange(kh) * self.dilation[0] + row * self.stride[0] - self.padding[0]
        lefts = torch.arange(kw) * self.dilation[1] + column * self.stride[1] - self.padding[1]
        top, left = torch.meshgrid(tops, lefts, indexing="ij")
        height, width = self.extent
        return torch.stack([left / width, top / height, (left + 1) / width, (top + 1) / height], -1)


@torch.no_grad()
def capture(model: nn.Module, images: Tensor) -> tuple[dict[str, Generated], Any]:
    """Apply `model` to `images` and keep the kernels that its involutions generate.

    The model is left in the mode that it was in. A layer that is applied several times, as the heads of a detector are
    to every level, appears as `name[0]`, `name[1]` and so on. Involutions of a detector's heads for regions are left
    out: they do not see the image.

    Args:
        model: called once, in evaluation mode.
        images: [B, C, H, W], what the model takes.

    Returns:
        What was generated, in the order of application under the name of the layer, and the output of the model.

    Raises:
        ValueError: there is no involution in the model.

    >>> model = nn.Sequential(Involution2d(32), Involution2d(32, stride=2))
    >>> generated, output = capture(model, torch.rand(1, 32, 9, 6))
    >>> {name: list(g.kernel.shape) for name, g in generated.items()}
    {'0': [1, 2, 7, 7, 9, 6], '1': [1, 2, 7, 7, 5, 3]}
    """
    kept: dict[str, list[Generated]] = {}
    share = [1.0, 1.0]  # of a detector's padded batch that the images cover

    def keep(name: str, layer: Involution2d, inputs: tuple[Any, ...]) -> None:
        x = inputs[0]
        (height, width), kernel = x.shape[-2:], layer.kernel(x)
        geometry = [(int(pair[0]), int(pair[1])) for pair in (layer.stride, layer.dilation, layer.padding)]
        extent = (share[0] * height, share[1] * width)
        covered = [-int(-e // s) for e, s in zip(extent, geometry[0], strict=True)]  # rounded up
        kernel = kernel[..., : covered[0], : covered[1]]
        kept.setdefault(name, []).append(Generated(kernel, extent, *geometry))

    def cover(module: nn.Module, inputs: Any, output: tuple[ImageList, Any]) -> None:
        padded, (height, width) = output[0].tensors.shape[-2:], output[0].image_sizes[0]
        share[:] = height / padded[0], width / padded[1]

    hooks = [layer.register_forward_pre_hook(partial(keep, name)) for name, layer in _involutions(model).items()]
    hooks += [m.register_forward_hook(cover) for m in model.modules() if isinstance(m, GeneralizedRCNNTransform)]
    modes = {module: module.training for module in model.modules()}
    try:
        output = model.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return {
        f"{name}[{i}]" if len(times) > 1 else name: generated
        for name, times in kept.items()
        for i, generated in enumerate(times)
    }, output


def kernels(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the kernels of every pixel, [B, G, Kh, Kw, Ho, Wo] under the name of the layer; arguments of `capture`."""
    return {name: generated.kernel for name, generated in capture(model, images)[0].items()}


def heat_maps(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Sum the kernel of every pixel over its window, in every involution that `model` applies to `images`.

        map[b, g, i, j] = Σ_{u,v} kernel[b, g, u, v, i, j]

    Li et al., "Involution", CVPR 2021, section 5 and Figure 3. Arguments and errors are those of `capture`.

    Returns:
        For each involution, in the order of application, [B, G, Ho, Wo] under the name of the layer.

    >>> maps = heat_maps(nn.Sequential(Involution2d(32), Involution2d(32, stride=2)), torch.rand(1, 32, 9, 6))
    >>> {name: list(map.shape) for name, map in maps.items()}
    {'0': [1, 2, 9, 6], '1': [1, 2, 5, 3]}
    """
    return {name: kernel.sum((2, 3)) for name, kernel in kernels(model, images).items()}


def _involutions(model: nn.Module) -> dict[str, Involution2d]:
    modules = dict(model.named_modules())
    regions = tuple(f"{name}." for name, module in modules.items() if isinstance(module, RoIHeads))
    found = {name: module for name, module in modules.items() if isinstance(module, Involution2d)}
    if not found:
        raise ValueError(f"model: expected a network with involutions, got a {type(model).__name__} without any")
    return {name: module for name, module in found.items() if not name.startswith(regions)}
