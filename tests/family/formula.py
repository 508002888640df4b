"""The involution with a scale and interleaved groups by its formula, and its arguments in every layout."""

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def windows(x: Tensor, window, out, stride=(1, 1), padding=(1, 1), dilation=(1, 1), scale=(1, 1)) -> Tensor:
    """What every output pixel sees, [B, C, Kh, Kw, Ho, Wo]."""
    index, inside = [], []
    for n, k, o, s, p, d, r in zip(x.shape[2:], window, out, stride, padding, dilation, scale, strict=True):
        at = torch.arange(o)[None] // r * s + torch.arange(k)[:, None] * d - p  # [K, out]
        inside.append((at >= 0) & (at < n))
        index.append(at.clamp(0, n - 1))
    (rows, columns), (rows_inside, columns_inside) = index, inside
    seen = x[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    return seen * (rows_inside[:, None, :, None] & columns_inside[None, :, None, :])


def formula(x: Tensor, kernel: Tensor, interleaved=False, **geometry) -> Tensor:
    """y[b, c, p] = Σ_o kernel[b, group of c, o, p] · x[b, c, window of p at o]."""
    channels, groups = x.shape[1], kernel.shape[1]
    group = torch.arange(channels) % groups if interleaved else torch.arange(channels) * groups // channels
    seen = windows(x, kernel.shape[2:4], kernel.shape[4:], **geometry)
    return (kernel[:, group] * seen).sum((2, 3))


def case(scale, interleaved, groups=3, group_channels=2, size=(5, 7), window=(3, 3), stride=(1, 1), dilation=(1, 1)):
    """Random x, kernel and grad, the arguments of the public function, and those of the formula."""
    padding = [d * (k - 1) // 2 for k, d in zip(window, dilation, strict=True)]
    out = [-(-n // s) * r for n, s, r in zip(size, stride, scale, strict=True)]
    generator = torch.Generator().manual_seed(sum(out))
    shapes = ([2, groups * group_channels, *size], [2, groups, *window, *out], [2, groups * group_channels, *out])
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "scale": scale, "interleaved": interleaved}
    return tensors, arguments


def layouts(t: Tensor):
    """The same values with other distances in memory."""
    flat = t.flatten(1, -3)
    yield flat.contiguous(memory_format=torch.channels_last).unflatten(1, t.shape[1:-2])
    wide = torch.full([n + 2 for n in t.shape], float("nan"), dtype=t.dtype)
    inside = wide[tuple(slice(1, n + 1) for n in t.shape)]
    yield inside.copy_(t)
    yield t.mT.contiguous().mT
    yield t.transpose(1, -3).contiguous().transpose(1, -3)  # the groups of a pixel are neighbours
