"""What a batch is: the contract between data and tasks.

Images are [B, C, H, W], float32 in [0, 1], RGB or grey; the task normalizes them, once and on the device. A data set
gives the same tuples for one image, without B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Images to learn from or to be judged by."""

    images: Tensor
    labels: Tensor  # [B], int64, index into the classes of the data module


class Query(NamedTuple):
    """Images to be named."""

    images: Tensor
    names: Sequence[str]  # the path of the file, or the index in the data set
