"""The limits of the machine: multiply-adds and bytes per second."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring.options import Options, Row
from benchmarks.measuring.timing import Work, interleaved

SOURCE = Path(__file__).with_name("peak.cpp")
REGISTERS, PRODUCT = "fused multiply-adds on registers", "matrix product"


def limits(options: Options) -> Row:
    """Measure the limits of the device.

    On a CPU, the limit of float32 multiply-adds is the fastest sample of a loop on registers, which no code exceeds. On
    a GPU, it is a large matrix product in each dtype. Copied bytes are counted twice, as read and written.
    """
    device, dry = options.device, options.dry_run
    source = torch.zeros(
        2**20 if dry else 2**32 if options.target == "cuda" else 2**28, dtype=torch.int8, device=device
    )
    copied = torch.empty_like(source)
    works: dict[str, Work] = {"copy": lambda: copied.copy_(source)}
    if options.target == "cuda":
        return _of_gpu(options, works, 2 * source.numel())
    loop = register_loop(rounds=1000 if dry else 20_000_000)
    if loop is not None:
        works["macs"] = loop
    times = interleaved(works, device, **options.timing(2.0))
    macs = loop() / times["macs"].best if loop is not None else None
    copy = 2 * source.numel() / times["copy"].median
    return {"macs_per_s": {"float32": macs}, "macs_per_s_of": REGISTERS, "copy_bytes_per_s": copy}


def _of_gpu(options: Options, works: dict[str, Work], copied: int) -> Row:
    side = 64 if options.dry_run else 8192
    dtypes = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    for name, dtype in dtypes.items():
        a, b = (torch.randn(side, side, dtype=dtype, device=options.device) for _ in range(2))
        works[name] = lambda a=a, b=b: a @ b  # type: ignore[misc]
    times = interleaved(works, options.device, **options.timing(2.0))
    macs = {name: side**3 / times[name].best for name in dtypes}
    return {"macs_per_s": macs, "macs_per_s_of": PRODUCT, "copy_bytes_per_s": copied / times["copy"].median}


def share(limit: Row, macs: float, dtype: str, seconds: float) -> float | None:
    """Return the multiply-adds per second as a fraction of the limit, None if the dtype has no limit."""
    most = limit["macs_per_s"].get(dtype)
    return macs / seconds / most if most else None


def register_loop(rounds: int) -> Any:
    """Return a function that runs multiply-adds on all threads and returns their number; None without a compiler."""
    library = _library()
    if library is None:
        return None
    pool = ThreadPoolExecutor(threads := torch.get_num_threads())

    def one(_: int) -> int:
        return int(library.multiply_add(rounds, 0.5, 1.0, (ctypes.c_float * 16)()))

    return lambda: sum(pool.map(one, range(threads)))


@cache
def _library() -> ctypes.CDLL | None:
    """Compile the loop for this processor; None without a C++ compiler."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "peak.so"))
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, str(SOURCE), "-o", path], check=True)
        library = ctypes.CDLL(path)
    library.multiply_add.restype = ctypes.c_int64
    library.multiply_add.argtypes = [ctypes.c_int64, ctypes.c_float, ctypes.c_float, ctypes.POINTER(ctypes.c_float)]
    return library
