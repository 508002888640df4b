"""Compile what the CUDA operators launch for an H100, on any machine; print one JSON object a launch.

A program of its own: Triton must not run in its interpreter here, and its driver is replaced by one that only names
the target.
"""

import json

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from involution.ops import cuda

LAST = torch.channels_last


class Target:
    """What compiling asks of a driver."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def compile_only(self, *args, grid, warmup, **kwargs):
    binary = run(self, *args, grid=grid, warmup=True, **kwargs)
    launch = {
        "file": self.fn.__module__.rpartition(".")[2],
        "hash": binary.metadata.hash,
        "shared": binary.metadata.shared,
        "machine_code": len(binary.asm["cubin"]),
    }
    print(json.dumps(launch))
    return binary


def launch_all(batch, height, width, channels, dtype, window=7, stride=1):
    """Call every operator as `Involution2d` does, 16 channels a group and a reduction of 4."""
    groups, rows, columns = channels // 16, -(-height // stride), -(-width // stride)
    taps = groups * window * window
    x = torch.empty(batch, channels, height, width, dtype=dtype).contiguous(memory_format=LAST)
    grad = torch.empty(batch, channels, rows, columns, dtype=dtype).contiguous(memory_format=LAST)
    reduced = torch.empty(batch, channels // 4, rows, columns, dtype=dtype).contiguous(memory_format=LAST)
    kernel = torch.empty(batch, taps, rows, columns, dtype=dtype).contiguous(memory_format=LAST)
    kernel = kernel.unflatten(1, (groups, window, window))
    weight, bias = torch.empty(taps, channels // 4, dtype=dtype), torch.empty(taps, dtype=dtype)
    geometry = [stride] * 2, [window // 2] * 2, [1] * 2
    span = reduced, weight, bias, groups, [window] * 2, *geometry
    cuda.involution2d(x, kernel, *geometry)
    cuda.involution2d_grad_x(grad, kernel, [height, width], *geometry)
    cuda.involution2d_grad_kernel(grad, x, groups, [window] * 2, *geometry)
    cuda.involution2d_spanned(x, *span)
    cuda.involution2d_spanned_backward(grad, x, *span)


if __name__ == "__main__":
    driver.set_active(Target())
    run, JITFunction.run = JITFunction.run, compile_only
    launch_all(2, 56, 56, 64, torch.bfloat16)
    launch_all(3, 13, 17, 64, torch.bfloat16)  # another shape: nothing to compile
