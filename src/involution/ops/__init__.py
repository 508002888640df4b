"""Involution as functions of tensors: arguments are checked and explained here, the work is done by the operators.

Letters used everywhere in this package:

    B batch    C channels    G groups of C/G channels    H W input size    Ho Wo output size    Kh Kw window

Which file serves a call is PyTorch's dispatch: `reference.py` by default, `cpu/` for CPU tensors once compiled,
`cuda/` for CUDA tensors where there is Triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from involution.ops import autograd, bottleneck, cpu, cuda, vmap  # noqa: F401  (importing registers the operators)
from involution.ops.geometry import resolve
from involution.ops.reference import widen

__all__ = ["involution1d", "involution2d", "involution3d"]

Size = int | Sequence[int]
Padding = int | Sequence[int] | Literal["same"]


def involution2d(x: Tensor, kernel: Tensor, stride: Size = 1, padding: Padding = "same", dilation: Size = 1) -> Tensor:
    """Sum every window of `x` with the kernel of its own output pixel.

        y[b,c,i,j] = Σ_{u,v} kernel[b, c·G//C, u, v, i, j] · x[b, c, i·s + u·d − p, j·s + v·d − p]

    Li et al., "Involution", CVPR 2021, eq. 4. The window is not flipped; pixels outside `x` count as zero.
    Differentiable to every order.

    Args:
        x: [B, C, H, W], floating point, any memory layout.
        kernel: [B, G, Kh, Kw, Ho, Wo], dtype and device of `x`, any memory layout; G divides C, and group g holds the
            channels g·C/G to (g+1)·C/G − 1.
        stride, dilation: in pixels, an int or (vertical, horizontal).
        padding: rows and columns of zeros on each side, an int or (vertical, horizontal), or "same": d·(K−1) in all,
            the smaller half of it in front, so that Ho = ⌈H/s⌉.

    Returns:
        [B, C, Ho, Wo], dtype and memory format of `x`.

    Raises:
        ValueError: an argument is out of range, G does not divide C, Ho or Wo is not what the geometry gives, or
            dtypes or devices differ.

    >>> x, kernel = torch.ones(1, 32, 5, 6), torch.ones(1, 2, 3, 3, 5, 6)
    >>> involution2d(x, kernel)[0, 0, :2, :3]
    tensor([[4., 6., 6.],
            [6., 9., 9.]])
    """
    geometry = resolve(x, kernel, 2, stride, padding, dilation)
    return torch.ops.involution.involution2d(x, kernel, *geometry)


def involution1d(x: Tensor, kernel: Tensor, stride: Size = 1, padding: Padding = "same", dilation: Size = 1) -> Tensor:
    """Sum every window of a sequence with the kernel of its own output position.

        y[b,c,i] = Σ_u kernel[b, c·G//C, u, i] · x[b, c, i·s + u·d − p]

    Args:
        x: [B, C, L], floating point.
        kernel: [B, G, K, Lo], dtype and device of `x`.
        stride, padding, dilation: as in `involution2d`.

    Returns:
        [B, C, Lo], dtype of `x`.

    Raises:
        ValueError: as in `involution2d`.
    """
    (s,), (p,), (d,) = resolve(x, kernel, 1, stride, padding, dilation)
    flat = kernel.unsqueeze(2).unsqueeze(4)  # [B, G, 1, K, 1, Lo]
    return torch.ops.involution.involution2d(x.unsqueeze(2), flat, [1, s], [0, p], [1, d]).squeeze(2)


def involution3d(x: Tensor, kernel: Tensor, stride: Size = 1, padding: Padding = "same", dilation: Size = 1) -> Tensor:
    """Sum every window of a volume with the kernel of its own output voxel.

    The equation of `involution2d` with a third index; computed as a sum over the Kd slices of the window, each a
    two-dimensional involution.

    Args:
        x: [B, C, D, H, W], floating point.
        kernel: [B, G, Kd, Kh, Kw, Do, Ho, Wo], dtype and device of `x`.
        stride, padding, dilation: as in `involution2d`, an int or three of them.

    Returns:
        [B, C, Do, Ho, Wo], dtype of `x`.

    Raises:
        ValueError: as in `involution2d`.
    """
    (sd, *stride2d), (pd, *padding2d), (dd, *dilation2d) = resolve(x, kernel, 3, stride, padding, dilation)
    batch, depth, taps, out_depth = x.shape[0], x.shape[2], kernel.shape[2], kernel.shape[5]
    span = (out_depth - 1) * sd + 1
    x = F.pad(x, (0, 0, 0, 0, pd, span + (taps - 1) * dd - pd - depth)).transpose(1, 2)  # [B, Dpad, C, H, W]
    kernel = kernel.permute(2, 0, 5, 1, 3, 4, 6, 7).flatten(1, 2)  # [Kd, B·Do, G, Kh, Kw, Ho, Wo]
    slices = []
    for t in range(taps):
        seen = x[:, t * dd : t * dd + span : sd].flatten(0, 1)  # [B·Do, C, H, W]
        slices.append(widen(torch.ops.involution.involution2d(seen, kernel[t], stride2d, padding2d, dilation2d)))
    y = torch.stack(slices).sum(0).to(x.dtype)
    return y.unflatten(0, (batch, out_depth)).transpose(1, 2)
