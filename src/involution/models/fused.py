"""A bottleneck block of a RedNet as one operator, its norms folded and its weights packed."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from involution.layers import Involution2d
from involution.models.skeleton.trunk import Bottleneck
from involution.ops.bottleneck import pack, pack_span, to_panels, unpack
from involution.ops.geometry import same_padding


class FusedBottleneck(nn.Module):
    """`Bottleneck` with an involution, for inference only: `torch.ops.involution.bottleneck`.

    Args:
        block: one for which `is_fusable` returns True, in eval mode.
    """

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        mixer: Any = block.conv2
        self.groups: int = mixer.groups
        self.geometry: list[list[int]] = [mixer.kernel_size, mixer.stride, mixer.dilation]
        self.projection = not isinstance(block.downsample, nn.Identity)
        enter = _folded(block.conv1, block.bn1)
        reduce = _folded(mixer.conv1.conv, mixer.conv1.bn)
        span = mixer.conv2.conv
        leave, bias = _folded(block.conv3, block.bn3)
        if self.projection:
            shortcut, shortcut_bias = _folded(*block.downsample)  # type: ignore[misc]
            leave, bias = torch.cat([leave, shortcut], 1), bias + shortcut_bias
        scale, shift = _affine(block.bn2)
        packed = [
            *pack(*enter),
            *pack(*reduce),
            *pack_span(span.weight.flatten(1), span.bias, self.groups),
            scale.float(),
            shift.float(),
            *pack(leave, bias),
        ]
        for index, tensor in enumerate(packed):
            self.register_buffer(f"packed{index}", tensor.detach())

    def _apply(self, fn: Any, recurse: bool = True) -> FusedBottleneck:
        """Convert, and repack the matrices, because their order follows the dtype; vectors stay float32."""
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers():
            vector = buffer.dim() == 1
            setattr(self, name, before[name].to(buffer.device) if vector else to_panels(unpack(buffer)))
        return self

    def forward(self, x: Tensor) -> Tensor:
        packed = [getattr(self, f"packed{index}") for index in range(10)]
        y: Tensor = torch.ops.involution.bottleneck(x, *packed, self.groups, *self.geometry, self.projection)
        return y


def is_fusable(block: nn.Module) -> TypeGuard[Bottleneck]:
    """Return whether the operator computes the same function as the block."""
    if not isinstance(block, Bottleneck) or not isinstance(block.conv2, Involution2d):
        return False
    mixer, weight = block.conv2, block.conv1.weight
    norms = [block.bn1, block.bn2, block.bn3]
    if not isinstance(block.downsample, nn.Identity):
        if not (isinstance(block.downsample, nn.Sequential) and len(block.downsample) == 2):
            return False
        norms.append(block.downsample[1])
    if not (isinstance(mixer.conv1, nn.Sequential) and len(mixer.conv1) == 3 and isinstance(mixer.proj, nn.Identity)):
        return False
    norms.append(mixer.conv1[1])
    acts = [block.act1, block.act2, block.act3, mixer.conv1[2]]
    channels = [block.conv1.in_channels, mixer.channels // mixer.groups, block.conv3.out_channels]
    return (
        weight.dtype in (torch.float32, torch.bfloat16)
        and weight.device.type == "cpu"
        and all(type(norm) is nn.BatchNorm2d and norm.track_running_stats for norm in norms)
        and all(type(act) is nn.ReLU for act in acts)
        and all(count % 16 == 0 for count in channels)
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
    """Return the matrix of a 1x1 convolution with the norm after it, and the bias, folded in float64."""
    scale, shift = _affine(norm)
    weight = conv.weight.flatten(1)
    bias = shift if conv.bias is None else shift + scale * conv.bias.double()
    return (weight.double() * scale[:, None]).to(weight.dtype), bias
