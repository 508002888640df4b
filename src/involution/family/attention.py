"""The two halves of local attention, in the layout of NATTEN."""

from __future__ import annotations

from math import prod

from torch import Tensor

from involution.ops import involution1d, involution2d, involution3d
from involution.ops import local_products as _products
from involution.ops.geometry import Size, per_axis


def local_products(query: Tensor, key: Tensor, kernel_size: Size, dilation: Size = 1) -> Tensor:
    """Return the scalar products of queries and the keys around them, the first half of local attention.

        y[b,h,p,o] = Σ_d query[b, h, p, d] · key[b, h, p + o, d]

    Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019; the arguments of NATTEN's
    `na1d_qk`, `na2d_qk` and `na3d_qk` (Hassani et al., CVPR 2023). NATTEN moves windows at the border inwards, so that
    all keys exist; here the window stays centred, and keys outside the image count as zero.

    Args:
        query, key: [B, heads, *size, D], of one to three axes.
        kernel_size, dilation: in pixels, an int or one per axis.

    Returns:
        [B, heads, *size, taps].

    Raises:
        ValueError: as in `involution.local_products`.

    >>> local_products(torch.rand(1, 2, 5, 6, 8), torch.rand(1, 2, 5, 6, 8), kernel_size=3).shape
    torch.Size([1, 2, 5, 6, 9])
    """
    # Heads join the batch: the maps are then views with channels last, and each has one group.
    products = _products(_heads("query", query), _heads("key", key), 1, kernel_size, dilation=dilation)
    rank = query.dim() - 3
    return products.flatten(1, 1 + rank).movedim(1, -1).unflatten(0, query.shape[:2])


def local_sums(attention: Tensor, value: Tensor, kernel_size: Size, dilation: Size = 1) -> Tensor:
    """Return the values around a pixel, weighted by its attention, the second half of local attention.

        y[b,h,p,d] = Σ_o attention[b, h, p, o] · value[b, h, p + o, d]

    Paper and border as in `local_products`; the arguments of NATTEN's `na1d_av`, `na2d_av` and `na3d_av`.

    Args:
        attention: [B, heads, *size, taps], usually a softmax over the taps.
        value: [B, heads, *size, D].
        kernel_size, dilation: as in `local_products`.

    Returns:
        [B, heads, *size, D].

    Raises:
        ValueError: as in `involution2d`.

    >>> local_sums(torch.rand(1, 2, 5, 6, 9).softmax(-1), torch.rand(1, 2, 5, 6, 8), kernel_size=3).shape
    torch.Size([1, 2, 5, 6, 8])
    """
    values = _heads("value", value)
    window = per_axis("kernel_size", kernel_size, value.dim() - 3, least=1)
    kernel = _heads("attention", attention)
    if kernel.shape[1] != prod(window):
        raise ValueError(f"attention: expected the {prod(window)} taps of kernel_size, got {kernel.shape[1]}")
    operator = (involution1d, involution2d, involution3d)[len(window) - 1]
    y = operator(values, kernel.unflatten(1, (1, *window)), dilation=dilation)
    return y.movedim(1, -1).unflatten(0, value.shape[:2])


def _heads(name: str, t: Tensor) -> Tensor:
    """Return [B, heads, *size, D] as maps with channels last, [B·heads, D, *size]."""
    if not 4 <= t.dim() <= 6:
        raise ValueError(f"{name}: expected [B, heads, *size, D] of one to three axes, got shape {list(t.shape)}")
    return t.flatten(0, 1).movedim(-1, 1)
