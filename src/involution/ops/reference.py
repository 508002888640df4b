"""The three contractions in plain PyTorch: slow, simple to verify, and available on every device and dtype.

Every function loops over the taps (u, v) of the window and shifts the whole image once per tap. Sums are computed in
float32 for the 16-bit types, as in every other implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from involution.ops.axes import lead

Ints = Sequence[int]
Slices = tuple[slice, slice]


def widen(x: Tensor) -> Tensor:
    """Return `x` in the accumulation dtype."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def involution2d(x: Tensor, kernel: Tensor, stride: Ints, padding: Ints, dilation: Ints) -> Tensor:
    """y = ∂T/∂g: every window of `x`, summed with the kernel of its output pixel."""
    k, window = _scaled(kernel), kernel.shape[2:4]
    out = k.shape[4::2]
    padded = pad(_grouped(widen(x), kernel.shape[1]), _margins(x.shape[-2:], out, window, stride, padding, dilation))
    y = padded.new_zeros([*padded.shape[:3], *k.shape[4:]])  # [B, G, C/G, Ho, Sh, Wo, Sw]
    for u, v, (rows, columns) in _taps(window, out, stride, dilation):
        y += k[:, :, None, u, v] * padded[..., rows, None, columns, None]
    return _ungrouped(y, x).reshape(*x.shape[:-2], *kernel.shape[4:])


def involution2d_grad_x(
    grad: Tensor, kernel: Tensor, size: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Tensor:
    """∂T/∂x: every output gradient times its kernel, added to the pixels of its window."""
    k, window = _scaled(kernel), kernel.shape[2:4]
    out = k.shape[4::2]
    margins = _margins(size, out, window, stride, padding, dilation)
    g = _scaled(_grouped(widen(grad), kernel.shape[1]), before=3)
    grad_x = pad(g.new_zeros([*g.shape[:3], *size]), margins)
    for u, v, (rows, columns) in _taps(window, out, stride, dilation):
        product = k[:, :, None, u, v] * g
        grad_x[..., rows, columns] += product[..., 0, :, 0] if kernel.dim() == 6 else product.sum((-3, -1))
    return _ungrouped(pad(grad_x, [-margin for margin in margins]), grad)


def involution2d_grad_kernel(
    grad: Tensor, x: Tensor, groups: int, window: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Tensor:
    """∂T/∂k: every output gradient times the pixels of its window, summed over the channels of the group."""
    g = _scaled(_grouped(widen(grad), groups), before=3)
    out = g.shape[3::2]
    padded = pad(_grouped(widen(x), groups), _margins(x.shape[-2:], out, window, stride, padding, dilation))
    taps = [
        (g * padded[..., rows, None, columns, None]).sum(2)
        for _, _, (rows, columns) in _taps(window, out, stride, dilation)
    ]
    return torch.stack(taps, 2).reshape(grad.shape[0], groups, *window, *grad.shape[lead(grad) :])


def _grouped(t: Tensor, groups: int) -> Tensor:
    """Return [B, C, ...] or, if groups are interleaved, [B, C/G, G, ...], as [B, G, C/G, ...]."""
    return t.transpose(1, 2) if lead(t) == 3 else t.unflatten(1, (groups, t.shape[1] // groups))


def _ungrouped(t: Tensor, like: Tensor) -> Tensor:
    return t.transpose(1, 2) if lead(like) == 3 else t.flatten(1, 2)


def _scaled(t: Tensor, before: int = 4) -> Tensor:
    """Return `t`, whose pixels come after `before` axes, with pixels [Ho, Sh, Wo, Sw]; the scale may be one."""
    return t if t.dim() == before + 4 else t.unsqueeze(-1).unsqueeze(-3)


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
