"""Filters with a kernel for every pixel: LSNet, dynamic convolution, kernel-predicting networks."""

from __future__ import annotations

from math import isqrt
from typing import cast

import torch
from torch import Tensor

from involution.ops import involution1d, involution2d
from involution.ops.autograd import call
from involution.ops.geometry import check_map, plan_involution, remembered

_ska = torch.ops.involution.ska.default


def ska(x: Tensor, w: Tensor) -> Tensor:
    """Small kernel aggregation of LSNet: channel c uses kernel c mod G of its pixel.

        y[b,c,p] = Σ_o w[b, c mod G, o, p] · x[b, c, p + o]

    Wang et al., "LSNet: See Large, Focus Small", CVPR 2025. The authors' program needs Triton and a GPU; this
    function also serves CPUs, and windows of any size.

    Args:
        x: [B, C, H, W].
        w: [B, G, K·K, H, W], G = C/groups of LSNet, dtype and device of `x`.

    Returns:
        [B, C, H, W].

    Raises:
        ValueError: K·K is no square, or as in `involution2d`.

    >>> ska(torch.rand(1, 32, 7, 7), torch.rand(1, 4, 9, 7, 7)).shape
    torch.Size([1, 32, 7, 7])
    """
    _check_ska((x, w))
    return cast(Tensor, call(_ska, x, w))


@remembered
def _check_ska(tensors: tuple[Tensor, Tensor]) -> bool:
    x, w = tensors
    if w.dim() != 5:
        raise ValueError(f"w: expected [B, G, K*K, H, W], got shape {list(w.shape)}")
    side = isqrt(w.shape[2])
    if side < 1 or side * side != w.shape[2]:
        raise ValueError(f"w: expected a square number of taps, K*K, got {w.shape[2]}")
    plan_involution((x, w.unflatten(2, (side, side))), 2, 1, "same", 1, 1)
    return True


def dynamic_conv1d(x: Tensor, weight: Tensor, padding_l: int | None = None, softmax: bool = False) -> Tensor:
    """Dynamic convolution: heads of channels share a kernel that is predicted at every time step.

        y[b,c,t] = Σ_k weight[b, c·H//C, k, t] · x[b, c, t + k − padding_l]

    Wu et al., "Pay Less Attention with Lightweight and Dynamic Convolutions", ICLR 2019; the first arguments are those
    of fairseq's CUDA function `dynamicconvFunction`, which has no CPU version and takes K of 3, 5, 7, 15, 31, 63, 127
    and 255 only. The paper normalizes the K weights by softmax: before the call, or in it with `softmax`. A lightweight
    convolution has the same weights at every step: `weight.expand(B, H, K, T)`.

    Args:
        x: [B, C, T]; fairseq's modules permute [T, B, C].
        weight: [B, H, K, T], dtype and device of `x`; H divides C.
        padding_l: zeros in front, 0 to K − 1; K − 1, the default, is causal, K // 2 looks at both sides.
        softmax: whether to normalize the weights, which then takes no memory.

    Returns:
        [B, C, T].

    Raises:
        ValueError: as in `involution1d`.

    >>> dynamic_conv1d(torch.rand(1, 8, 10), torch.rand(1, 2, 3, 10), softmax=True).shape
    torch.Size([1, 8, 10])
    """
    if weight.dim() != 4:
        raise ValueError(f"weight: expected [B, H, K, T], got shape {list(weight.shape)}")
    taps = weight.shape[2]
    front = taps - 1 if padding_l is None else padding_l
    if not 0 <= front < taps:
        raise ValueError(f"padding_l: expected 0 to K - 1 = {taps - 1}, got {padding_l}")
    return involution1d(x, weight, padding=[(front, taps - 1 - front)], softmax=softmax)


def predict_kernels(frames: Tensor, core: Tensor, kernel_size: int, softmax: bool = False) -> Tensor:
    """Filter noisy images with kernels that a network has predicted for every pixel, one for all colours or one each.

        y[b,n,c,p] = Σ_o core[b, n, o, c or 0, p] · frames[b, n, c, p + o]

    Mildenhall et al., "Burst Denoising with Kernel Prediction Networks", CVPR 2018, where the denoised image is
    the mean over the N frames, `.mean(1)`; Bako et al., "Kernel-Predicting Convolutional Networks", SIGGRAPH 2017,
    normalize the K·K values by softmax: before the call, or in it with `softmax`. The other arguments are those of
    the class `KernelConv` that PyTorch versions of KPN share, which stacks K·K shifted copies of the frames.

    Args:
        frames: [B, N, C, H, W], or [B, C, H, W] for one frame.
        core: [B, N·K·K, H, W], or [B, N·K·K·C, H, W] with the colours innermost, dtype and device of `frames`.
        kernel_size: K, odd.
        softmax: whether to normalize the K·K values, which then takes no memory.

    Returns:
        The shape of `frames`: each frame, filtered.

    Raises:
        ValueError: `core` has another number of channels, or as in `involution2d`.

    >>> predict_kernels(torch.rand(1, 3, 8, 9), torch.rand(1, 25, 8, 9), kernel_size=5, softmax=True).shape
    torch.Size([1, 3, 8, 9])
    """
    burst = frames if frames.dim() == 5 else frames.unsqueeze(1)
    check_map("core", core, 2)
    count, colours = burst.shape[1:3]
    shared = count * kernel_size**2
    if core.shape[1] not in (shared, shared * colours):
        raise ValueError(f"core: expected {shared} or {shared * colours} channels, got {core.shape[1]}")
    kernel = core.unflatten(1, (count, kernel_size, kernel_size, -1)).flatten(0, 1).movedim(3, 1)
    return involution2d(burst.flatten(0, 1), kernel, softmax=softmax).view(frames.shape)
