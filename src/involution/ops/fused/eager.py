"""When the operators of a training step, `norm` and `pointwise`, replace the modules of PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from involution.ops import cpu

_compiled = cpu.status()["loaded"]


def is_eager() -> bool:
    """Return whether gradients are recorded, and no compiler, tracer or transform runs."""
    return (
        not torch.compiler.is_compiling()
        and _compiled
        and torch.is_grad_enabled()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and torch._C._len_torch_dispatch_stack() == 0
    )


def is_transformed(grad: Tensor) -> bool:
    """Return whether a backward records its own graph (`create_graph`) or is vectorized (`is_grads_batched`)."""
    vectorized = torch._C._are_functorch_transforms_active() or torch._C._dispatch_keys(grad).has("Batched")
    return vectorized or torch.is_grad_enabled()


def channels_last(x: Tensor) -> Tensor:
    """Return `x`, or a copy of it, in channels-last memory."""
    return x.contiguous(memory_format=torch.channels_last)


def is_map(x: Tensor) -> bool:
    """Return whether `x` is a float32 map on a CPU in channels-last memory."""
    return (
        type(x) is Tensor
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
    )
