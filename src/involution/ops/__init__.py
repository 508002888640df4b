"""Functional interface of involution: these functions check their arguments and call the operators.

Letters used everywhere in this package:

    B batch    C channels    G groups of C/G channels    H W input size    Ho Wo output size    Kh Kw window

PyTorch's dispatcher selects the implementation: `reference.py` by default, `cpu/` for CPU tensors once compiled,
`cuda/` for CUDA tensors where there is Triton. The operators are two-dimensional; `ranks.py` builds the
others from them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from involution.ops import autograd, cpu, cuda, vmap  # noqa: F401  (importing registers operators)
from involution.ops.fused import bottleneck, norm, stem  # noqa: F401
from involution.ops.geometry import Padding, Size, plan_involution, plan_products, plan_spanned
from involution.ops.ranks import aggregate, aggregate_spanned, correlate

__all__ = ["involution1d", "involution2d", "involution3d", "local_products", "spanned_involution"]

F = TypeVar("F", bound=Callable[..., Tensor])


def _overridable(function: F) -> F:
    """Call `__torch_function__` of the arguments: `torch.fx` then records one node in place of the checks."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        if has_torch_function(given):
            return handle_torch_function(wrapper, given, *args, **kwargs)
        return function(*args, **kwargs)

    return cast(F, wrapper)


@_overridable
def involution2d(
    x: Tensor,
    kernel: Tensor,
    stride: Size = 1,
    padding: Padding = "same",
    dilation: Size = 1,
    scale: Size = 1,
    interleaved: bool = False,
    softmax: bool = False,
) -> Tensor:
    """Sum every window of `x`, weighted by the kernel of its output pixel.

        y[b,c,i,j] = Σ_{u,v} kernel[b, c·G//C, u, v, i, j] · x[b, c, i·s + u·d − p, j·s + v·d − p]

    With a `scale` n, n·n output pixels share a window: i//n and j//n take the place of i and j in the index of `x`.
    With `interleaved` groups, c mod G takes the place of c·G//C. Neither copies `x` or the kernels. With `softmax`,
    the softmax of `kernel` over (u, v) takes the place of `kernel`; on CPU it is not written to memory, which is also
    faster for groups of few channels.

    Li et al., "Involution", CVPR 2021, eq. 4. The window is not flipped; pixels outside `x` count as zero.
    Differentiable to every order, in reverse and forward mode; `torch.func` and `torch.vmap` work.

    Args:
        x: [B, C, H, W], floating point, any memory layout.
        kernel: [B, G, Kh, Kw, Ho, Wo], dtype and device of `x`, any memory layout; G divides C, and group g holds the
            channels g·C/G to (g+1)·C/G − 1.
        stride, dilation: in pixels, an int or (vertical, horizontal).
        padding: rows and columns of zeros: an int; (vertical, horizontal), where each is an int for both sides or a
            pair (front, behind); or "same": d·(K−1) in all, the smaller half of it in front, so that Ho = n·⌈H/s⌉.
        scale: output pixels per window, an int or (vertical, horizontal).
        interleaved: whether group g holds the channels g, g + G, g + 2·G, ... instead of neighbours.
        softmax: whether `kernel` holds scores. Those of pixels outside `x` count like others; −∞ leaves a pixel out.

    Returns:
        [B, C, Ho, Wo], dtype and memory format of `x`.

    Raises:
        ValueError: an argument is out of range, G does not divide C, Ho or Wo does not match the geometry, or
            dtypes or devices differ.

    >>> x, kernel = torch.ones(1, 32, 5, 6), torch.ones(1, 2, 3, 3, 5, 6)
    >>> involution2d(x, kernel)[0, 0, :2, :3]
    tensor([[4., 6., 6.],
            [6., 9., 9.]])
    """
    return _involution(x, kernel, 2, stride, padding, dilation, scale, interleaved, softmax)


@_overridable
def involution1d(
    x: Tensor,
    kernel: Tensor,
    stride: Size = 1,
    padding: Padding = "same",
    dilation: Size = 1,
    scale: Size = 1,
    interleaved: bool = False,
    softmax: bool = False,
) -> Tensor:
    """Sum every window of a sequence, weighted by the kernel of its output position.

        y[b,c,i] = Σ_u kernel[b, c·G//C, u, i] · x[b, c, i·s + u·d − p]

    Args:
        x: [B, C, L], floating point.
        kernel: [B, G, K, Lo], dtype and device of `x`.
        stride, padding, dilation, scale, interleaved, softmax: as in `involution2d`; `padding=[(d * (K - 1), 0)]`
            makes the operator causal.

    Returns:
        [B, C, Lo], dtype of `x`.

    Raises:
        ValueError: as in `involution2d`.

    >>> involution1d(torch.ones(1, 1, 4), torch.ones(1, 1, 3, 4), padding=[(2, 0)])
    tensor([[[1., 2., 3., 3.]]])
    """
    return _involution(x, kernel, 1, stride, padding, dilation, scale, interleaved, softmax)


@_overridable
def involution3d(
    x: Tensor,
    kernel: Tensor,
    stride: Size = 1,
    padding: Padding = "same",
    dilation: Size = 1,
    scale: Size = 1,
    interleaved: bool = False,
    softmax: bool = False,
) -> Tensor:
    """Sum every window of a volume, weighted by the kernel of its output voxel.

    The equation of `involution2d` with a third index; computed as a sum over the Kd slices of the window, each a
    two-dimensional involution.

    Args:
        x: [B, C, D, H, W], floating point.
        kernel: [B, G, Kd, Kh, Kw, Do, Ho, Wo], dtype and device of `x`.
        stride, padding, dilation, scale: as in `involution2d`, an int or three of them.
        interleaved, softmax: as in `involution2d`.

    Returns:
        [B, C, Do, Ho, Wo], dtype and memory format of `x`.

    Raises:
        ValueError: as in `involution2d`.
    """
    return _involution(x, kernel, 3, stride, padding, dilation, scale, interleaved, softmax)


def _involution(
    x: Tensor,
    kernel: Tensor,
    rank: int,
    stride: Size,
    padding: Padding,
    dilation: Size,
    scale: Size,
    interleaved: bool,
    softmax: bool,
) -> Tensor:
    geometry, repeats = plan_involution((x, kernel), rank, stride, padding, dilation, scale)
    return aggregate(x, kernel, geometry, repeats, interleaved, softmax)


@_overridable
def spanned_involution(
    x: Tensor,
    reduced: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = "same",
    dilation: Size = 1,
) -> Tensor:
    """Apply the involution whose kernels are `weight` · `reduced` + `bias`, without storing the kernels.

        kernel[b, g, u, v, i, j] = Σ_r weight[(g·Kh + u)·Kw + v, r] · reduced[b, r, i, j] + bias[(g·Kh + u)·Kw + v]
        y = involution2d(x, kernel)

    The kernels are K·K·G/C times as large as the feature map, 3 times for K = 7 and 16 channels a group. The compiled
    operators generate those of a few pixels at a time, in the forward and in the backward pass. One, two and three
    dimensions are supported. Kernels are stored under `torch.vmap` and where the backward is itself differentiated.

    Args:
        x: [B, C, *size], of one to three axes, floating point.
        reduced: [B, R, *output size], dtype and device of `x`.
        weight: [G·Kh·Kw, R], dtype and device of `x`; G divides C.
        bias: [G·Kh·Kw] or None.
        kernel_size: of the window, in pixels; an int or one per axis.
        stride, padding, dilation: as in `involution2d`.

    Returns:
        [B, C, *output size], dtype and memory format of `x`.

    Raises:
        ValueError: as in `involution2d`, or a shape is not as above.

    >>> x, reduced, weight = torch.rand(1, 32, 5, 6), torch.rand(1, 8, 5, 6), torch.rand(2 * 3 * 3, 8)
    >>> spanned_involution(x, reduced, weight, None, kernel_size=3).shape
    torch.Size([1, 32, 5, 6])
    """
    groups, window, geometry = plan_spanned((x, reduced, weight, bias), kernel_size, stride, padding, dilation)
    return aggregate_spanned(x, reduced, weight, bias, groups, window, geometry)


@_overridable
def local_products(
    query: Tensor,
    key: Tensor,
    groups: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = "same",
    dilation: Size = 1,
    scale: Size = 1,
    interleaved: bool = False,
) -> Tensor:
    """Return the scalar products of every query with the keys in its window, one per group of channels.

        y[b, g, u, v, i, j] = Σ_{c in g} query[b, c, i, j] · key[b, c, i·s + u·d − p, j·s + v·d − p]

    This is the gradient of `involution2d` with respect to its kernel. It computes the logits of local self-attention
    with a group for each head. With queries of 1 and one channel per group, the result is `unfold`. Keys outside the
    image count as zero. One, two and three dimensions are supported; differentiable as `involution2d` is.

    Args:
        query: [B, C, *output size], of one to three axes, floating point.
        key: [B, C, *size], dtype and device of `query`.
        groups: G, a divisor of C.
        kernel_size: of the window, in pixels; an int or one per axis.
        stride, padding, dilation, scale, interleaved: as in `involution2d`.

    Returns:
        [B, G, *window, *output size], dtype and memory format of `query`.

    Raises:
        ValueError: as in `involution2d`, or a shape is not as above.

    >>> local_products(torch.rand(1, 32, 5, 6), torch.rand(1, 32, 5, 6), groups=2, kernel_size=(3, 1)).shape
    torch.Size([1, 2, 3, 1, 5, 6])
    """
    plan = plan_products((query, key), groups, kernel_size, stride, padding, dilation, scale)
    window, geometry, repeats = plan
    return correlate(query, key, groups, window, geometry, repeats, interleaved)
