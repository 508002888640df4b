"""Read `.pdparams` files without Paddle.

Paddle pickles a dictionary of NumPy arrays. This unpickler allows only the parts of such an array, and builds tensors
from the bytes itself. It is written in Python: the one in C takes memory for as many entries as a small file claims.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Codes of NumPy's dtypes.
_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i4": torch.int32,
    "i8": torch.int64,
}


class _DType:
    """Replacement for `numpy.dtype`."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        self.dtype = _DTYPES[code]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", "|"):
            raise pickle.UnpicklingError("only little-endian arrays are read")


class _Array:
    """Replacement for `numpy.ndarray`; NumPy creates it empty and sets its state."""

    tensor: Tensor

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        flat = torch.frombuffer(bytearray(content), dtype=dtype.dtype) if content else torch.empty(0, dtype=dtype.dtype)
        self.tensor = (
            flat.reshape(shape[::-1]).permute(*reversed(range(len(shape)))) if fortran else flat.reshape(shape)
        )


def _array(*_: Any) -> _Array:
    return _Array()


def _bytes(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _bytes,  # how protocol 2 writes bytes
    ("builtins", "tuple"): tuple,
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
}


class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return _ALLOWED[module, name]


def read_paddle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.pdparams` file by name.

    Raises:
        Exception: of any type, if the file has another format.
    """
    with path.open("rb") as file:
        saved = _Unpickler(file).load()
    weights = {}
    for name, value in saved.items():
        if name.endswith("@@"):  # tables of names beside the arrays
            continue
        array = value[1] if isinstance(value, tuple) else value  # a tensor is saved as (name, array)
        weights[name] = array.tensor
    return weights
