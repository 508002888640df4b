"""Masks as COCO stores them: run lengths in column order, or polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor


def run_lengths(mask: Tensor) -> dict[str, Any]:
    """Return a binary mask [H, W] in the compressed form of COCO's results, as JSON can hold it.

    >>> run_lengths(torch.eye(3))
    {'size': [3, 3], 'counts': '013000'}
    """
    encoded = coco.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def decoded(segmentation: Any, height: int, width: int) -> Tensor:
    """Return the mask uint8 [height, width] of polygons, of run lengths, or of compressed run lengths.

    Raises:
        ValueError: it is none of them.
    """
    try:
        if isinstance(segmentation, list):
            found = coco.merge(coco.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            found = coco.frPyObjects(segmentation, height, width)
        else:
            found = segmentation
        return torch.from_numpy(coco.decode(found))
    except Exception as error:  # what pycocotools raises
        raise ValueError(f"segmentation: expected polygons or run lengths, got {str(segmentation)[:60]}") from error
