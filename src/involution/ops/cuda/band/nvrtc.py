"""Compilation of band.cu at run time, by the NVRTC library and the bindings that PyTorch's CUDA wheels bring along."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("warp.cuh", "band.cu"))


def _checked(result: tuple[Any, ...]) -> Any:
    """Return what a function of the bindings returned after its status.

    Raises:
        RuntimeError: the status is an error.
    """
    status, *values = result
    if int(status) != 0:
        raise RuntimeError(f"{status!r}")
    return values[0] if values else None


def compile_for(arch: str, constants: tuple[tuple[str, int], ...]) -> bytes:
    """Return the machine code for an architecture such as "sm_90". No GPU is needed.

    Raises:
        RuntimeError: the compiler's messages.
    """
    from cuda.bindings import nvrtc

    program = _checked(nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"band.cu", 0, [], []))
    options = [f"--gpu-architecture={arch}", "--std=c++17", *(f"-D{name}={value}" for name, value in constants)]
    try:
        _checked(nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options]))
        code = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program))
        _checked(nvrtc.nvrtcGetCUBIN(program, code))
    except RuntimeError as error:
        log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program))
        _checked(nvrtc.nvrtcGetProgramLog(program, log))
        raise RuntimeError(f"{error}: {log.decode().strip()}") from None
    finally:
        _checked(nvrtc.nvrtcDestroyProgram(program))
    return code


@cache
def load(device: int, arch: str, constants: tuple[tuple[str, int], ...], shared: int) -> Any:
    """Return the function for the current device, the one numbered `device`, compiled once."""
    from cuda.bindings import driver

    module = _checked(driver.cuModuleLoadData(compile_for(arch, constants)))
    function = _checked(driver.cuModuleGetFunction(module, b"band"))
    limit = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    _checked(driver.cuFuncSetAttribute(function, limit, shared))
    return function


def launch(function: Any, grid: tuple[int, int], shared: int, stream: int, addresses: list[int], sizes: Any) -> None:
    """Launch 128 threads for every place of the grid, with five addresses and a struct of integers."""
    import ctypes

    from cuda.bindings import driver

    values = [*map(ctypes.c_void_p, addresses), (ctypes.c_int * len(sizes))(*sizes)]
    pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    _checked(driver.cuLaunchKernel(function, *grid, 1, 128, 1, 1, shared, stream, ctypes.addressof(pointers), 0))
