"""The kernels that a network generates, captured by hooks."""

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
    """The kernels of one involution, and the geometry of its windows.

    Args:
        kernel: [B, G, Kh, Kw, Ho, Wo].
        extent: (H, W) of the part of the layer's input that the image covers, in pixels of that input. A detector pads
            its images; the padding is not part of the extent.
        stride, dilation, padding: of the layer, (vertical, horizontal), in pixels of its input.
    """

    kernel: Tensor
    extent: tuple[float, float]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """Return the row and column of the kernel at a position of the image, x and y as fractions of its size."""
        rows, columns = self.kernel.shape[-2:]
        row, column = y * self.extent[0] / self.stride[0], x * self.extent[1] / self.stride[1]
        return min(max(int(row), 0), rows - 1), min(max(int(column), 0), columns - 1)

    def window(self, row: int, column: int) -> Tensor:
        """Return the positions of the taps of that kernel on the image: [Kh, Kw, 4], left, top, right, bottom.

        Positions are fractions of the image's width and height; values outside [0, 1] are outside the image. A tap has
        the size of a pixel of the layer's input; the receptive field of that pixel is larger.
        """
        kh, kw = self.kernel.shape[2:4]
        tops = torch.arange(kh) * self.dilation[0] + row * self.stride[0] - self.padding[0]
        lefts = torch.arange(kw) * self.dilation[1] + column * self.stride[1] - self.padding[1]
        top, left = torch.meshgrid(tops, lefts, indexing="ij")
        height, width = self.extent
        return torch.stack([left / width, top / height, (left + 1) / width, (top + 1) / height], -1)


@torch.no_grad()
def capture(model: nn.Module, images: Tensor) -> tuple[dict[str, Generated], Any]:
    """Apply `model` to `images` and return the kernels that its involutions generate.

    The training mode of the model is restored. A layer that is applied several times, such as a detector's head to
    every level, appears as `name[0]`, `name[1]` and so on. Involutions in the RoI heads of a detector are left out,
    because their inputs are regions, not the image.

    Args:
        model: called once, in evaluation mode.
        images: [B, C, H, W], the input of the model.

    Returns:
        The kernels by the name of the layer, in the order of application, and the output of the model.

    Raises:
        ValueError: there is no involution in the model.

    >>> model = nn.Sequential(Involution2d(32), Involution2d(32, stride=2))
    >>> generated, output = capture(model, torch.rand(1, 32, 9, 6))
    >>> {name: list(g.kernel.shape) for name, g in generated.items()}
    {'0': [1, 2, 7, 7, 9, 6], '1': [1, 2, 7, 7, 5, 3]}
    """
    kept: dict[str, list[Generated]] = {}
    share = [1.0, 1.0]  # of a detector's padded batch that the image covers

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
    """Return the kernels [B, G, Kh, Kw, Ho, Wo] of every involution, by the name of the layer; see `capture`."""
    return {name: generated.kernel for name, generated in capture(model, images)[0].items()}


def heat_maps(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the sum of every generated kernel over its window, for each involution in `model`.

        map[b, g, i, j] = Σ_{u,v} kernel[b, g, u, v, i, j]

    Li et al., "Involution", CVPR 2021, section 5 and Figure 3. Arguments and errors are those of `capture`.

    Returns:
        [B, G, Ho, Wo] for each involution, by the name of the layer, in the order of application.

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
