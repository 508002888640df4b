"""Swap the convolutions of an existing network for involutions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import nn

from involution.layers.involution import Involution2d
from involution.layers.span import hooked
from involution.ops.geometry import same_padding


def replace_conv2d(
    module: nn.Module,
    kernel_size: int = 7,
    group_channels: int = 16,
    reduction_ratio: int | None = 4,
    where: Callable[[str, nn.Conv2d], bool] = lambda name, conv: True,
    **kwargs: Any,
) -> nn.Module:
    """Replace every k x k convolution of `module`, k > 1, by an involution of the same stride, dilation and channels.

    Not replaced: 1x1 and grouped convolutions, those whose input channels `group_channels` or `reduction_ratio`
    does not divide (the RGB input is one), those that change the size of the map beyond their stride, and those that
    pad with other values than zero. The new layers are freshly initialized, on the device and in the dtype of the old
    ones; a convolution that several modules share becomes one layer that they share. Hooks, and weights that several
    convolutions share, cannot be carried over: such convolutions raise an error unless `where` leaves them.

    Args:
        module: changed in place.
        kernel_size, group_channels, reduction_ratio, kwargs: of `Involution2d`.
        where: called with the name and the convolution; False leaves it.

    Raises:
        ValueError: an argument is not one of `Involution2d`, or a convolution to replace has hooks or shares a weight
            with another module; nothing has been replaced.

    Returns:
        `module`, or the new layer if `module` itself is such a convolution.

    >>> net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1))
    >>> replace_conv2d(net)[2].stride
    [2, 2]
    """
    if group_channels < 1:
        raise ValueError(f"group_channels: expected at least 1, got {group_channels}")
    owners = Counter(p for m in module.modules() for p in m.parameters(recurse=False))
    made: dict[nn.Conv2d, nn.Module] = {}  # a convolution that is used in several places is replaced by one layer

    def swapped(name: str, conv: nn.Module) -> nn.Module:
        if not isinstance(conv, nn.Conv2d) or not _replaceable(conv) or not where(name, conv):
            return conv
        if conv.in_channels % group_channels or conv.in_channels % (reduction_ratio or 1):
            return conv
        if conv not in made:
            if hooked(conv):
                raise ValueError(f"module: expected convolutions without hooks, got hooks on {name!r}")
            if any(owners[p] > 1 for p in conv.parameters()):
                raise ValueError(f"module: expected convolutions that share no weight, got a shared one in {name!r}")
            layer = Involution2d(
                conv.in_channels,
                kernel_size,
                conv.stride,
                conv.dilation,
                group_channels,
                reduction_ratio,
                conv.out_channels,
                device=conv.weight.device,
                dtype=conv.weight.dtype,
                **kwargs,
            )
            made[conv] = layer.train(conv.training)
        return made[conv]

    layers = {name: swapped(name, child) for name, child in module.named_modules(remove_duplicate=False)}
    for name, layer in layers.items():
        parent, _, leaf = name.rpartition(".")
        if name:
            setattr(module.get_submodule(parent), leaf, layer)
    return layers[""]


def _replaceable(conv: nn.Conv2d) -> bool:
    """Whether the convolution mixes a window of all channels and its output has the size ⌈H/s⌉ x ⌈W/s⌉."""
    if conv.groups > 1 or max(conv.kernel_size) == 1 or type(conv) is not nn.Conv2d:
        return False
    if conv.padding_mode != "zeros":
        return False
    sides = same_padding(conv.kernel_size, conv.dilation)
    same = conv.padding == "same" or list(conv.padding) == [front for front, _ in sides]
    return same and all(front == behind for front, behind in sides)
