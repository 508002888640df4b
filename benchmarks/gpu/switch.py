"""The same work with the program for tensor cores, which is off by default; see `involution.ops.cuda.band`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measuring.timing import Work

TENSOR_CORES = "tensor cores"
VARIABLE = "INVOLUTION_TENSOR_CORES"


@contextmanager
def tensor_cores(on: bool = True) -> Iterator[None]:
    """Turn the program on or off, and back at the end."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1" if on else "0"
    yield
    if before is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = before


def on_tensor_cores(work: Work) -> Work:
    """Return `work` with the program turned on during each call."""

    def call() -> object:
        with tensor_cores():
            return work()

    return call
