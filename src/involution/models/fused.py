"""A bottleneck block, or the stem, of a RedNet as one operator, its norms folded and its weights packed."""

from __future__ import annotations

from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from involution.layers import Involution2d
from involution.layers.span import hooked
from involution.models.skeleton.trunk import Bottleneck
from involution.ops.fused.bottleneck import pack, pack_span, to_panels, unpack
from involution.ops.fused.stem import WINDOW_ROW, pack_first, pack_last
from involution.ops.geometry import same_padding


class _Packed(nn.Module):
    """Base of modules with packed weights: matrices in panels, of three dimensions, and vectors in float32."""

    def _pack(self, *tensors: Tensor) -> None:
        for index, tensor in enumerate(tensors):
            self.register_buffer(f"packed{index}", tensor.detach())

    def _apply(self, fn: Any, recurse: bool = True) -> _Packed:
        """Convert, and repack the matrices, because their order follows the dtype; vectors stay float32."""
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers():
            vector = buffer.dim() == 1
            setattr(self, name, before[name].to(buffer.device) if vector else to_panels(unpack(buffer)))
        return self


class FusedBottleneck(_Packed):
    """`Bottleneck` with an involution, for inference only: `torch.ops.involution.bottleneck`.

    Args:
        block: one for which `is_fusable` returns True, in eval mode.

    Attributes:
        inplace: write the output to the memory of the input, which must not be read afterwards. This saves the
            allocation of a map, whose pages the system clears.
    """

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.inplace = False
        mixer: Any = block.conv2
        self.groups: int = mixer.groups
        self.geometry: list[list[int]] = [mixer.kernel_size, mixer.stride, mixer.dilation]
        self.projection = not isinstance(block.downsample, nn.Identity)
        leave, bias = _folded(block.conv3, block.bn3)
        if self.projection:
            shortcut, shortcut_bias = _folded(*block.downsample)  # type: ignore[misc]
            leave, bias = torch.cat([leave, shortcut], 1), bias + shortcut_bias
        enter = pack(*_folded(block.conv1, block.bn1))
        self._pack(*enter, *_involution(mixer, block.bn2), *pack(leave, bias))

    def forward(self, x: Tensor) -> Tensor:
        packed = [getattr(self, f"packed{index}") for index in range(10)]
        if self.inplace:
            torch.ops.involution.bottleneck_(x, *packed, self.groups, *self.geometry)
            return x
        y: Tensor = torch.ops.involution.bottleneck(x, *packed, self.groups, *self.geometry, self.projection)
        return y


class FusedStem(_Packed):
    """The stem of a RedNet and the max pooling after it, for inference only: `torch.ops.involution.stem`.

    Args:
        stem: one for which `is_fusable_stem` returns True, in eval mode.
    """

    def __init__(self, stem: nn.Sequential) -> None:
        super().__init__()
        first, mixer, norm, _, last = (cast(Any, layer) for layer in stem)
        self.groups: int = mixer.groups
        self.window: list[int] = mixer.kernel_size
        packed = [pack_first(*_folded(first.conv, first.bn)), pack_last(*_folded(last.conv, last.bn))]
        self._pack(*packed[0], *_involution(mixer, norm), *packed[1])

    def forward(self, x: Tensor) -> Tensor:
        packed = [getattr(self, f"packed{index}") for index in range(10)]
        y: Tensor = torch.ops.involution.stem(x, *packed, self.groups, self.window)
        return y


def is_fusable(block: nn.Module) -> TypeGuard[Bottleneck]:
    """Return whether the operator computes the same function as the block."""
    if not isinstance(block, Bottleneck) or not isinstance(block.conv2, Involution2d):
        return False
    convs: list[Any] = [block.conv1, block.conv3]
    norms: list[Any] = [block.bn1, block.bn2, block.bn3]
    if not isinstance(block.downsample, nn.Identity):
        if not (isinstance(block.downsample, nn.Sequential) and len(block.downsample) == 2):
            return False
        convs.append(block.downsample[0])
        norms.append(block.downsample[1])
    if not all(type(conv) is nn.Conv2d and conv.kernel_size == (1, 1) and conv.groups == 1 for conv in convs):
        return False
    channels = [block.conv1.in_channels, block.conv3.out_channels]
    acts = [block.act1, block.act2, block.act3]
    return (
        all(count % 16 == 0 for count in channels)
        and _takes(block.conv2, block.conv1.weight, norms, acts)
        and not hooked(*block.modules())
    )


def is_fusable_stem(stem: nn.Module, pool: nn.Module) -> TypeGuard[nn.Sequential]:
    """Return whether the operator computes the same function as a stem and the max pooling after it."""
    if not (isinstance(stem, nn.Sequential) and len(stem) == 5 and isinstance(stem[1], Involution2d)):
        return False
    outer = (stem[0], stem[4])
    if not all(isinstance(layer, nn.Sequential) and len(layer) == 3 for layer in outer):
        return False
    convs, norms, acts = zip(*(cast(nn.Sequential, layer) for layer in outer), strict=True)
    if not all(type(conv) is nn.Conv2d for conv in convs) or type(pool) is not nn.MaxPool2d:
        return False
    if hooked(pool, *stem.modules()):
        return False
    forms = [
        (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode) for conv in convs
    ]
    pooling = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, pool.return_indices)
    return (
        forms == [((3, 3), (stride, stride), (1, 1), (1, 1), 1, "zeros") for stride in (2, 1)]
        and pooling == (3, 2, 1, 1, False, False)
        and convs[0].in_channels <= WINDOW_ROW // 3
        and convs[0].out_channels % 32 == convs[1].out_channels % 16 == 0
        and max(stem[1].stride) == max(stem[1].dilation) == 1
        and _takes(stem[1], convs[0].weight, [*norms, stem[2]], [*acts, stem[3]])
    )


def _takes(mixer: Any, weight: Tensor, norms: list[Any], acts: list[Any]) -> bool:
    """Return whether the operators compute an involution, and these norms and activations around it."""
    if not (isinstance(mixer.conv1, nn.Sequential) and len(mixer.conv1) == 3 and isinstance(mixer.proj, nn.Identity)):
        return False
    norms, acts = [*norms, mixer.conv1[1]], [*acts, mixer.conv1[2]]
    return (
        weight.dtype in (torch.float32, torch.bfloat16)
        and weight.device.type == "cpu"
        and all(type(norm) is nn.BatchNorm2d and norm.track_running_stats for norm in norms)
        and all(type(act) is nn.ReLU for act in acts)
        and mixer.channels // mixer.groups % 16 == 0
        and all(k % 2 == 1 for k in mixer.kernel_size)
        and mixer.sides == same_padding(mixer.kernel_size, mixer.dilation)
        and mixer.fused  # the span has no hook and is not wrapped or replaced
        and isinstance(mixer.conv2.get_submodule("conv").bias, Tensor)
    )


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a batch norm, in float64."""
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = (var + norm.eps).rsqrt()
    if norm.affine:
        return (scale := scale * norm.weight.double()), norm.bias.double() - mean * scale
    return scale, -mean * scale


def _folded(conv: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Return the weight of a convolution with the norm after it, and the bias, folded in float64.

    The weight of a 1x1 convolution is returned as a matrix.
    """
    scale, shift = _affine(norm)
    weight = conv.weight.flatten(1) if conv.kernel_size == (1, 1) else conv.weight
    bias = shift if conv.bias is None else shift + scale * conv.bias.double()
    return (weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))).to(weight.dtype), bias


def _involution(mixer: Any, norm: Any) -> list[Tensor]:
    """Return the packed tensors of an involution and the norm after it."""
    span = mixer.conv2.conv
    span_packed = pack_span(span.weight.flatten(1), span.bias, mixer.groups)
    return [*pack(*_folded(mixer.conv1.conv, mixer.conv1.bn)), *span_packed, *(t.float() for t in _affine(norm))]
