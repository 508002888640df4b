"""Runs the CUDA program of `involution.ops.cuda.band` on the CPU: emulated.h stands in for the GPU's instructions."""

import ctypes
import subprocess
from pathlib import Path

import torch

from involution.ops.cuda import band
from involution.ops.cuda.band.tiling import plan, refusal

HERE = Path(__file__).parent
PARTS = HERE / "emulated.h", Path(band.__file__).with_name("band.cu"), HERE / "run.h"


def build(constants, folder):
    """Compile the program for the CPU, once for each set of constants."""
    path = folder / ("-".join(f"{name}{value}" for name, value in constants) + ".so")
    if not path.exists():
        options = [*(f"-D{name}={value}" for name, value in constants), "-U_FORTIFY_SOURCE"]
        command = ["g++", "-x", "c++", "-std=c++17", "-O0", "-w", "-shared", "-fPIC", *options, "-", "-o", path]
        subprocess.run(command, input="\n".join(part.read_text() for part in PARTS), text=True, check=True)
    run = ctypes.CDLL(str(path)).run
    run.restype = ctypes.c_char_p
    return run


def array(kind, values):
    return (kind * len(values))(*values)


def involution2d_spanned(folder, x, reduced, weight, bias, groups, window, stride, padding, dilation):
    """Return what the program writes; fail if a thread reads or writes where it must not."""
    assert refusal(x, reduced, weight, bias, groups, window, stride, dilation) is None
    launch = plan(x, reduced, bias is not None, groups, window, stride, padding, dilation)
    y = x.new_full((*x.shape[:2], *reduced.shape[2:]), float("nan")).contiguous(memory_format=torch.channels_last)
    tensors = [y, x, reduced, weight, weight.new_empty(0) if bias is None else bias]
    problem = build(launch.constants, folder)(
        array(ctypes.c_void_p, [t.data_ptr() for t in tensors]),
        array(ctypes.c_int64, [t.numel() for t in tensors]),
        array(ctypes.c_int, launch.sizes),
        *launch.grid,
        launch.shared,
    )
    assert problem is None, problem.decode()
    return y
