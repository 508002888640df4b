"""The last convolution of a kernel generator."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Span(nn.Sequential):
    """The 1x1 convolution `conv` that spans the kernels of every pixel from its reduced features.

    Its parameters have the names of the official module, `conv.weight` and `conv.bias`.

    >>> Span(nn.Conv2d(16, 49 * 4, 1))(torch.rand(1, 16, 5, 6)).shape
    torch.Size([1, 196, 5, 6])
    """

    __jit_unused_properties__: ClassVar = ["is_plain"]

    def __init__(self, conv: nn.Module) -> None:
        super().__init__(OrderedDict(conv=conv))

    @property
    def is_plain(self) -> bool:
        """Whether a call is `weight · reduced + bias` and nothing else, so that a fused operator may replace it.

        False once the convolution is replaced or parametrized, or has a hook, as with pruning, adapters (LoRA),
        quantization and offloading. Hooks for all modules (`register_module_forward_hook`) do not count.
        """
        conv: Any = self._modules.get("conv")  # `get_submodule` takes as long as all of the rest
        return type(self) is Span and len(self) == 1 and type(conv) in CONVOLUTIONS and not hooked(self, conv)


def hooked(*modules: nn.Module) -> bool:
    """Return whether a call of one of the modules runs a hook, or another function in place of its `forward`."""
    for module in modules:  # every call of a layer asks: a loop takes half the time of `any`
        if (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
            or "forward" in module.__dict__
        ):
            return True
    return False
