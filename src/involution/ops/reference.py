"""The three contractions in plain PyTorch: slow, simple to verify, and available on every device and dtype.

Every function loops over the taps (u, v) of the window and shifts the whole image once per tap. Sums are computed in
float32 for the 16-bit types, as in every other implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Ints = Sequence[int]
Slices = tuple[slice, slice]


def widen(x: Tensor) -> Tensor:
    """Return `x` in the accumulation dtype."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def involution2d(x: Tensor, kernel: Tensor, stride: Ints, padding: Ints, dilation: Ints) -> Tensor:
    """y = ∂T/∂g: every window of `x`, summed with the kernel of its output pixel."""
    groups, window, out = kernel.shape[1], kernel.shape[2:4], kernel.shape[4:]
    x = pad(_grouped(widen(x), groups), _margins(x.shape[2:], out, window, stride, padding, dilation))
    y = x.new_zeros([*x.shape[:3], *out])  # [B, G, C/G, Ho, Wo]
    for u, v, (rows, columns) in _taps(window, out, stride, dilation):
        y += kernel[:, :, None, u, v] * x[..., rows, columns]
    return y.flatten(1, 2)


def involution2d_grad_x(
    grad: Tensor, kernel: Tensor, size: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Tensor:
    """∂T/∂x: every output gradient times its kernel, added to the pixels of its window."""
    groups, window, out = kernel.shape[1], kernel.shape[2:4], kernel.shape[4:]
    margins = _margins(size, out, window, stride, padding, dilation)
    grad = _grouped(widen(grad), groups)
    grad_x = pad(grad.new_zeros([*grad.shape[:3], *size]), margins)
    for u, v, (rows, columns) in _taps(window, out, stride, dilation):
        grad_x[..., rows, columns] += kernel[:, :, None, u, v] * grad
    return pad(grad_x, [-margin for margin in margins]).flatten(1, 2)


def involution2d_grad_kernel(
    grad: Tensor, x: Tensor, groups: int, window: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Tensor:
    """∂T/∂k: every output gradient times the pixels of its window, summed over the channels of the group."""
    out = grad.shape[2:]
    x = pad(_grouped(widen(x), groups), _margins(x.shape[2:], out, window, stride, padding, dilation))
    grad = _grouped(widen(grad), groups)
    taps = [(grad * x[..., rows, columns]).sum(2) for _, _, (rows, columns) in _taps(window, out, stride, dilation)]
    return torch.stack(taps, 2).unflatten(2, list(window))


def _grouped(x: Tensor, groups: int) -> Tensor:
    return x.unflatten(1, (groups, x.shape[1] // groups))  # [B, G, C/G, H, W]


def _margins(size: Ints, out: Ints, window: Ints, stride: Ints, padding: Ints, dilation: Ints) -> list[int]:
    """Return the padding that `F.pad` must add (or cut, if negative): left, right, top, bottom."""
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, stride, window, dilation, strict=True)]
    top, left = padding
    return [left, reach[1] - left - size[1], top, reach[0] - top - size[0]]


def pad(x: Tensor, margins: Ints) -> Tensor:
    """Return `F.pad(x, margins)` for margins that cut all of `x`: F.pad cuts before it pads."""
    wide = F.pad(x, [max(margin, 0) for margin in margins])
    return F.pad(wide, [min(margin, 0) for margin in margins])


def _taps(window: Ints, out: Ints, stride: Ints, dilation: Ints) -> Iterator[tuple[int, int, Slices]]:
    """Yield every tap of the window with the pixels that all outputs read through it."""
    (sh, sw), (dh, dw) = stride, dilation
    for u in range(window[0]):
        for v in range(window[1]):
            rows = slice(u * dh, u * dh + (out[0] - 1) * sh + 1, sh)
            columns = slice(v * dw, v * dw + (out[1] - 1) * sw + 1, sw)
            yield u, v, (rows, columns)
