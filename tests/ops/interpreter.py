"""Triton's interpreter with faster calls and checks of memory accesses.

`tests/conftest.py` enables it before Triton is imported.
"""

import numpy as np
from torch import Tensor
from triton.runtime.interpreter import GridExecutor, InterpretedFunction, InterpreterBuilder


def call_quickly(self, *args, **kwargs):
    """Call a device function without preparing `triton.language` again: once a launch is enough."""
    return self.rewrite()(*args, **kwargs)


def tensors(arguments):
    """All tensors among the arguments of a launch."""
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, tuple):
            yield from tensors(argument)


def span(t):
    """First address of a tensor, and the first behind it."""
    last = sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True))
    return t.data_ptr(), t.data_ptr() + (last + 1) * t.itemsize


def be_strict(monkeypatch):
    """Make programs fail that read or write outside the tensors that they were given."""
    spans = []
    run = GridExecutor.__call__
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

    def check(pointers, mask):
        addresses = pointers.data[mask.data.astype(bool)]
        inside = np.zeros(addresses.shape, dtype=bool)
        for first, end in spans:
            inside |= (addresses >= first) & (addresses < end)
        assert inside.all(), "outside of all tensors"

    def checked_run(self, *args, **kwargs):
        spans[:] = [span(t) for t in tensors((*args, *kwargs.values())) if t.numel()]
        return run(self, *args, **kwargs)

    def checked_load(self, pointers, mask, *rest):
        check(pointers, mask)
        return load(self, pointers, mask, *rest)

    def checked_store(self, pointers, value, mask, *rest):
        check(pointers, mask)
        return store(self, pointers, value, mask, *rest)

    monkeypatch.setattr(InterpretedFunction, "__call__", call_quickly)
    monkeypatch.setattr(GridExecutor, "__call__", checked_run)
    monkeypatch.setattr(InterpreterBuilder, "create_masked_load", checked_load)
    monkeypatch.setattr(InterpreterBuilder, "create_masked_store", checked_store)
