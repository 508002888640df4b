"""Write weights: safetensors, or PyTorch's own format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ENDINGS = (".safetensors", ".pth", ".pt")


def check_destination(path: str | Path, argument: str = "out", endings: tuple[str, ...] = ENDINGS) -> Path:
    """Return `path` if a file of that name can be written.

    Raises:
        ValueError: the name has another ending, is that of a folder, or lies in a folder that does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise ValueError(f"{argument}: expected a file ending in {', '.join(endings)}, got {path}")
    if path.is_dir():
        raise ValueError(f"{argument}: expected a file, got {path}, which is a folder")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{argument}: expected a file in an existing folder, got {path}")
    return path


def write_weights(
    path: str | Path, weights: Mapping[str, Tensor], hparams: Mapping[str, Any] | None = None, nested: bool = False
) -> None:
    """Write weights to a file, in the format that its ending names.

    Args:
        path: ends in one of `ENDINGS`.
        weights: by name.
        hparams: plain values that describe the network, as `Saved.hparams`.
        nested: under `state_dict`, as OpenMMLab's loaders accept them; safetensors are always flat.

    Raises:
        ValueError: of `check_destination`.
    """
    path = check_destination(path)
    dense = {name: value.contiguous().clone() for name, value in weights.items()}  # tensors must not share memory
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import save_file

        described = {} if hparams is None else {"hyper_parameters": json.dumps(hparams)}
        save_file(dense, path, metadata={"format": "pt", **described})
    elif hparams is not None:
        torch.save({"state_dict": dense, "hyper_parameters": dict(hparams)}, path)
    else:
        torch.save({"meta": {}, "state_dict": dense} if nested else dense, path)
