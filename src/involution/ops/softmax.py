"""The involution whose kernels are a softmax over the window, as two steps.

Devices without a fused implementation run these steps. Derivatives compute the kernels again and differentiate the
steps, so that the kernels are not kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Ints = Sequence[int]


def kernels(scores: Tensor, rank: int = 2) -> Tensor:
    """Return the softmax of [B, G, *window, *out] over the `rank` axes of the window."""
    return scores.flatten(2, 1 + rank).softmax(2).unflatten(2, scores.shape[2 : 2 + rank])


def derivative(kernel: Tensor, direction: Tensor) -> Tensor:
    """Return the derivative of the softmax `kernel` in the direction of scores; it is its own transpose."""
    product = kernel * direction
    return product - kernel * product.sum((2, 3), keepdim=True)


def involution2d_softmax(x: Tensor, scores: Tensor, stride: Ints, padding: Ints, dilation: Ints) -> Tensor:
    """Return `involution2d` of `x` with the kernels that `scores` give."""
    return torch.ops.involution.involution2d(x, kernels(scores), stride, padding, dilation)
