"""Weights that are part of the package, by name. Beside each file is its model card."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
PRETRAINED = {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}
"""Files by the names that `--checkpoint` takes: network and data, as timm names them."""

DEFAULT = "rednet26_half.tin50"
"""What `involution predict`, `explain` and `explore` use if no other checkpoint is named."""


def locate(path: str | Path) -> Path:
    """Return the file of the weights with this name; any other path as it is.

    >>> locate("rednet26_half.tin50").name
    'rednet26_half.tin50.safetensors'
    """
    path = Path(path)
    return path if path.exists() else PRETRAINED.get(str(path), path)
