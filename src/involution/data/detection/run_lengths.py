"""Masks in the formats of COCO: run lengths in column order, or polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor


def encode_mask(mask: Tensor) -> dict[str, Any]:
    """Return a binary mask [H, W] in the compressed form of COCO's results, as JSON-serializable values.

    >>> encode_mask(torch.eye(3))
    {'size': [3, 3], 'counts': '013000'}
    """
    encoded = coco.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def decode_mask(segmentation: Any, height: int, width: int) -> Tensor:
    """Return the mask, uint8 [height, width], of polygons, run lengths or compressed run lengths.

    Raises:
        ValueError: `segmentation` is none of them, or run lengths of another size.
    """
    try:
        if isinstance(segmentation, list):
            found = coco.merge(coco.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            found = coco.frPyObjects(segmentation, height, width)
        else:
            found = segmentation
        mask = torch.from_numpy(coco.decode(found))
    except Exception as error:  # pycocotools raises several types
        raise ValueError(f"segmentation: expected polygons or run lengths, got {str(segmentation)[:60]}") from error
    if mask.shape != (height, width):
        got = " x ".join(map(str, mask.shape))
        raise ValueError(f"segmentation: expected run lengths of {height} x {width} pixels, got {got}")
    return mask
