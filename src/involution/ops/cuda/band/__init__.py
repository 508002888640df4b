"""The forward spanned involution on tensor cores, in CUDA C++: off unless INVOLUTION_TENSOR_CORES is 1.

`band.cu` is the program: its head explains it and says what was shown without a GPU. `tiling.py` chooses its constants
and grid, `nvrtc.py` compiles and launches it. Calls that it cannot serve, and all gradients, stay with Triton.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from involution.ops.cuda.band import nvrtc
from involution.ops.cuda.band.tiling import plan, refusal
from involution.ops.layout import empty_spanned

Ints = Sequence[int]


def serves(
    x: Tensor,
    reduced: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    window: Ints,
    stride: Ints,
    *rest: Ints,
) -> bool:
    """Return whether this program is asked for, the GPU supports it, and it can serve these arguments."""
    asked = os.environ.get("INVOLUTION_TENSOR_CORES") == "1"
    if not asked or not x.is_cuda or torch.version.hip is not None:
        return False
    newer = torch.cuda.get_device_capability(x.device) >= (8, 0)
    return newer and refusal(x, reduced, weight, bias, groups, window, stride, rest[-1]) is None


def involution2d_spanned(
    x: Tensor,
    reduced: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    window: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> Tensor:
    """`involution2d` with kernels that are computed and used in registers; see `involution.ops.spanned`.

    Raises:
        RuntimeError: the program cannot be compiled or launched.
    """
    y = empty_spanned(x, reduced)
    if y.numel() == 0:
        return y
    weight = weight.contiguous()
    bias = weight.new_empty(0) if bias is None else bias.contiguous()
    launch = plan(x, reduced, bias.numel() > 0, groups, window, stride, padding, dilation)
    major, minor = torch.cuda.get_device_capability(x.device)
    with torch.cuda.device(x.device):
        function = nvrtc.load(x.device.index, f"sm_{major}{minor}", launch.constants, launch.shared)
        stream = torch.cuda.current_stream().cuda_stream
        addresses = [t.data_ptr() for t in (y, x, reduced, weight, bias)]
        nvrtc.launch(function, launch.grid, launch.shared, stream, addresses, launch.sizes)
    return y
