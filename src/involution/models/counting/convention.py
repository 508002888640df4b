"""The FLOPs that the paper counts, module by module.

Multiply-adds of convolutions and linear maps, 1 per element for biases of convolutions, 2 for batch norms, 1 for ReLU,
1 per input element for poolings, and the aggregation of local operators. Synchronized batch norms, softmax, functional
calls and sums are not counted: the complexity counter of the authors' framework has no rule for them.
"""

from __future__ import annotations

from functools import singledispatch
from math import prod

from torch import Tensor, nn
from torch.nn.modules import activation, batchnorm, conv, pooling

from involution.layers import Involution2d
from involution.layers.attention.augmented import AugmentedConv2d
from involution.layers.attention.axial import AxialAttention2d
from involution.layers.attention.block import BlockAttention2d
from involution.layers.attention.local_relation import LocalRelation2d
from involution.layers.attention.san import SANPairwise2d, SANPatchwise2d
from involution.layers.attention.standalone import StandAlone2d
from involution.models.lsnet_blocks import LSConv


@singledispatch
def published_flops(module: nn.Module, x: Tensor, y: Tensor) -> int:
    """Return the paper's count for one call of `module` itself, y = module(x); 0 for modules that it does not count."""
    return 0


@published_flops.register
def _(module: conv._ConvNd, x: Tensor, y: Tensor) -> int:
    return _taps(module) * y.numel() + _bias(module, y)


@published_flops.register
def _(module: conv._ConvTransposeNd, x: Tensor, y: Tensor) -> int:
    return module.weight[0].numel() * x.numel() + _bias(module, y)


@published_flops.register
def _(module: nn.Linear, x: Tensor, y: Tensor) -> int:
    return module.in_features * y.numel()


@published_flops.register
def _(module: batchnorm._BatchNorm, x: Tensor, y: Tensor) -> int:
    return (2 if module.affine else 1) * x.numel()


@published_flops.register(nn.SyncBatchNorm)
def _(module: nn.Module, x: Tensor, y: Tensor) -> int:
    return 0


@published_flops.register(activation.ReLU)
@published_flops.register(activation.ReLU6)
@published_flops.register(activation.LeakyReLU)
@published_flops.register(activation.PReLU)
@published_flops.register(activation.ELU)
@published_flops.register(nn.Upsample)
def _(module: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel()


@published_flops.register(pooling._AvgPoolNd)
@published_flops.register(pooling._MaxPoolNd)
@published_flops.register(pooling._AdaptiveAvgPoolNd)
@published_flops.register(pooling._AdaptiveMaxPoolNd)
def _(module: nn.Module, x: Tensor, y: Tensor) -> int:
    return x.numel()


def _taps(module: conv._ConvNd) -> int:
    return module.in_channels // module.groups * prod(module.kernel_size)


def _bias(module: conv._ConvNd, y: Tensor) -> int:
    return y.numel() if module.bias is not None else 0


@published_flops.register
def _(module: Involution2d, x: Tensor, y: Tensor) -> int:
    """Count span and aggregation; the modules of the reduction before them are counted separately."""
    batch, _, *out = y.shape
    positions, window = batch * prod(out), prod(module.kernel_size)
    span = module.conv2.get_submodule("conv")
    assert isinstance(span, nn.Conv2d)
    return positions * (span.out_channels * (_taps(span) + 1) + module.channels * window)


# The layers of the comparison count their contractions as their papers write them; their 1x1 convolutions, norms and
# activations are counted separately.


@published_flops.register
def _(module: StandAlone2d, x: Tensor, y: Tensor) -> int:
    """Count logits of appearance, logits of position, aggregation; all at the resolution of x."""
    return (3 if module.rows is not None else 2) * prod(module.kernel_size) * x.numel()


@published_flops.register
def _(module: BlockAttention2d, x: Tensor, y: Tensor) -> int:
    """Count logits, the mixture of values, aggregation."""
    return (2 * module.size**2 + len(module.mixtures)) * y.numel()


@published_flops.register
def _(module: LocalRelation2d, x: Tensor, y: Tensor) -> int:
    """Count products and aggregation."""
    batch, channels, *out = y.shape
    return prod(module.kernel_size) * batch * prod(out) * (module.groups + channels)


@published_flops.register
def _(module: SANPairwise2d, x: Tensor, y: Tensor) -> int:
    """Count differences of relation and position, and aggregation."""
    batch, channels, *out = y.shape
    return module.kernel_size**2 * batch * prod(out) * (module.relation + 2 + channels)


@published_flops.register
def _(module: LSConv, x: Tensor, y: Tensor) -> int:
    """Count the aggregation; the modules that predict the kernels are counted separately."""
    return module.lkp.window * y.numel()


@published_flops.register
def _(module: SANPatchwise2d, x: Tensor, y: Tensor) -> int:
    return module.kernel_size**2 * y.numel()


@published_flops.register
def _(module: AugmentedConv2d, x: Tensor, y: Tensor) -> int:
    """Count products of appearance and aggregation among all pixels of the map that attention works on."""
    pooled = 1 if isinstance(module.pool, nn.Identity) else 2
    pixels = prod(-(-size // pooled) for size in y.shape[2:])
    return len(y) * pixels**2 * (module.key_channels + module.value_channels)


@published_flops.register
def _(module: AxialAttention2d, x: Tensor, y: Tensor) -> int:
    """Count three terms of the logits and two of the value at every tap that lies in the image."""
    size = x.shape[2 if module.vertical else 3]
    reach = min(module.span, size - 1)
    pairs = size * (2 * reach + 1) - reach * (reach + 1)
    return x.numel() // size * pairs * 7 // 2
