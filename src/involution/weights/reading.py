"""Read weights from untrusted files: only names, tensors and plain values; no code in a file is run."""

from __future__ import annotations

import json
import stat
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from involution.weights.paddle import read_paddle
from involution.weights.plain import is_small
from involution.weights.pretrained import locate

# `torch.save` before 1.6 starts with this number, pickled; other pickles are read as Paddle's.
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LARGEST_HEADER = 10**8  # bytes, the limit of safetensors itself


@dataclass(frozen=True)
class Saved:
    """Contents of a file of weights.

    Args:
        weights: tensors on the CPU by name, as in the file. Those of PyTorch's zip format and of safetensors are mapped
            from the file and take no memory until they are used.
        hparams: the hyperparameters of `involution fit`; None if the file has none. They are untrusted.
        state: the file's dictionary around the weights, empty where there is none.
    """

    weights: dict[str, Tensor]
    hparams: Any = None
    state: Mapping[str, Any] | None = None


def read_weights(path: str | Path, argument: str = "checkpoint") -> Saved:
    """Read a checkpoint of PyTorch, Lightning, OpenMMLab or Paddle, or a safetensors file.

    The format is found by content, not by the name of the file.

    Args:
        path: the file, or the name of weights that are part of the package.
        argument: that errors are about.

    Raises:
        ValueError: there is no such file, or it holds anything but weights.
    """
    path = locate(path)
    check_regular(path, argument)
    if path.is_dir():
        raise ValueError(f"{argument}: expected a file of weights, got {path}, which is a folder")
    if not path.is_file():
        raise ValueError(f"{argument}: expected a file, got {path}, which does not exist")
    try:
        with warnings.catch_warnings(action="ignore"):  # of unusual protocols
            saved = _load(path)
    except Exception as error:  # a damaged or hostile file makes the readers raise errors of almost any kind
        reason = f"expected a file of weights without code, got {path}, which is damaged or another kind of file"
        raise ValueError(f"{argument}: {reason}") from error
    weights = saved.get("state_dict", saved) if isinstance(saved, Mapping) else saved
    if not isinstance(weights, Mapping):
        raise ValueError(f"{argument}: expected weights by name, got {path} with {type(weights).__name__}")
    wrong = [name for name, value in weights.items() if not _plain(name, value)]
    if wrong or not weights:
        found = f"{wrong[0]!r}, which is not a plain tensor" if wrong else "nothing"
        raise ValueError(f"{argument}: expected weights by name, got {path} with {found}")
    state = saved if weights is not saved else {}
    hparams = state.get("hyper_parameters")
    if not is_small(hparams):
        raise ValueError(f"{argument}: expected a few plain hyper_parameters, got {path} with more than can be printed")
    return Saved({key: value.detach() for key, value in weights.items()}, hparams, state)


def check_regular(path: str | Path, argument: str) -> None:
    """Raise `ValueError` if a path is a pipe, a socket or a device: reading it might never end."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # there is no such file, or the text is no path
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise ValueError(f"{argument}: expected a regular file, got {path}, which is {kind}")


def _plain(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        return False
    # Strides of zero would let a small file claim a tensor of any size.
    return value.nbytes <= value.untyped_storage().nbytes()


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(16)
    # Safetensors first: the length that they begin with can look like the first byte of a pickle, not vice versa.
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length <= min(_LARGEST_HEADER, path.stat().st_size):
        return _load_safetensors(path)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("compressed entries, which torch.save does not write, could be of any size")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if start.startswith(_LEGACY_MAGIC):
        return torch.load(path, map_location="cpu", weights_only=True)
    if start.startswith(b"\x80"):
        return read_paddle(path)
    raise ValueError("neither safetensors nor a pickle")


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}
        hparams = (file.metadata() or {}).get("hyper_parameters")
    return weights if hparams is None else {"state_dict": weights, "hyper_parameters": json.loads(hparams)}
