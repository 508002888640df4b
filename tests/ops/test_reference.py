"""The reference gives the same values as five plain loops and as the official operator."""

import itertools
import math

import pytest
import torch
from geometries import GEOMETRIES, Geometry

from involution import involution1d, involution2d, involution3d
from involution.ops import reference

SMALL = {
    "plain": Geometry(groups=2, group_channels=2),
    "stride, dilation, even": Geometry(groups=1, group_channels=3, window=(2, 3), stride=(2, 1), dilation=(1, 2)),
    "stride beyond image": Geometry(batch=1, height=1, width=2, window=(1, 1), stride=(5, 6), pad=(2, 2)),
    "stride 3": Geometry(batch=1, groups=3, group_channels=1, height=7, width=5, stride=(3, 2)),
}


def taps(geometry):
    """Every (output pixel, tap, input pixel) of an involution: (i, j, u, v, y, x)."""
    (sh, sw), (ph, pw), (dh, dw) = geometry.arguments
    ranges = [range(n) for n in (*geometry.out, *geometry.window)]
    for i, j, u, v in itertools.product(*ranges):
        y, x = i * sh + u * dh - ph, j * sw + v * dw - pw
        if 0 <= y < geometry.height and 0 <= x < geometry.width:
            yield i, j, u, v, y, x


@pytest.mark.parametrize("geometry", SMALL.values(), ids=SMALL)
def test_the_three_contractions_are_their_definition(geometry):
    t = geometry.tensors()
    y, grad_x, grad_kernel = (torch.zeros_like(t[name]) for name in ("grad", "x", "kernel"))
    for c in range(geometry.channels):
        g = c // geometry.group_channels
        for i, j, u, v, h, w in taps(geometry):
            k = t["kernel"][:, g, u, v, i, j]
            y[:, c, i, j] += k * t["x"][:, c, h, w]
            grad_x[:, c, h, w] += k * t["grad"][:, c, i, j]
            grad_kernel[:, g, u, v, i, j] += t["grad"][:, c, i, j] * t["x"][:, c, h, w]
    assert_close = torch.testing.assert_close
    assert_close(reference.involution2d(t["x"], t["kernel"], *geometry.arguments), y)
    assert_close(reference.involution2d_grad_x(t["grad"], t["kernel"], geometry.size, *geometry.arguments), grad_x)
    of_kernel = reference.involution2d_grad_kernel(
        t["grad"], t["x"], geometry.groups, geometry.window, *geometry.arguments
    )
    assert_close(of_kernel, grad_kernel)


# (B, C, G, K, stride, dilation, H, W), sum, first and last value of the official operator.
PUBLISHED = [
    ((2, 4, 2, 3, 1, 1, 5, 6), -3.808876332236, -0.64553617821, 1.8899032279),
    ((1, 6, 3, 3, 2, 1, 7, 5), -2.026134425711, 0.90366352507, 0.15959306317),
    ((1, 4, 1, 3, 1, 2, 7, 7), -1.353210810819, -0.26998482451, 0.28240944083),
    ((1, 4, 4, 5, 2, 2, 9, 8), -3.367016099324, 1.7704740761, 0.094221476074),
]


@pytest.mark.parametrize(("sizes", "total", "first", "last"), PUBLISHED)
def test_published_values(sizes, total, first, last):
    b, c, g, k, stride, dilation, h, w = sizes
    out = (math.ceil(h / stride), math.ceil(w / stride))
    x = torch.sin(0.1 * torch.arange(b * c * h * w, dtype=torch.float64)).view(b, c, h, w)
    kernel = torch.cos(0.07 * torch.arange(b * g * k * k * out[0] * out[1], dtype=torch.float64))
    y = involution2d(x, kernel.view(b, g, k, k, *out), stride, "same", dilation)
    got = torch.stack([y.sum(), y.flatten()[0], y.flatten()[-1]])
    torch.testing.assert_close(got, torch.tensor([total, first, last], dtype=torch.float64), rtol=0, atol=1e-9)


def test_a_kernel_that_is_everywhere_the_same_is_a_depthwise_convolution():
    x, weight = torch.randn(2, 8, 9, 11, dtype=torch.float64), torch.randn(8, 1, 3, 5, dtype=torch.float64)
    kernel = weight.view(1, 8, 3, 5, 1, 1)
    for stride, padding in ((1, "same"), (2, (1, 2)), ((2, 1), 0)):
        expected = torch.conv2d(x, weight, stride=stride, padding=padding, groups=8)
        y = involution2d(x, kernel.expand(2, -1, -1, -1, *expected.shape[2:]), stride, padding)
        torch.testing.assert_close(y, expected)


def test_one_and_three_dimensions_are_convolutions_of_constant_kernels():
    x, weight = torch.randn(2, 4, 13, dtype=torch.float64), torch.randn(4, 1, 5, dtype=torch.float64)
    expected = torch.conv1d(x, weight, stride=2, padding=2, groups=4)
    y = involution1d(x, weight.view(1, 4, 5, 1).expand(2, -1, -1, expected.shape[2]), 2)
    torch.testing.assert_close(y, expected)

    x, weight = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64), torch.randn(4, 1, 3, 3, 5, dtype=torch.float64)
    expected = torch.conv3d(x, weight, stride=(2, 1, 2), padding=(1, 1, 2), groups=4)
    kernel = weight.view(1, 4, 3, 3, 5, 1, 1, 1).expand(2, -1, -1, -1, -1, *expected.shape[2:])
    torch.testing.assert_close(involution3d(x, kernel, (2, 1, 2)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_derivatives_of_first_and_second_order(rank):
    operator = (involution1d, involution2d, involution3d)[rank - 1]
    x = torch.randn([2, 4, *[4, 3, 3][:rank]], dtype=torch.float64, requires_grad=True)
    kernel = torch.randn([2, 2, *[3] * rank, *[2] * rank], dtype=torch.float64, requires_grad=True)

    def f(x, kernel):
        return operator(x, kernel, stride=2)

    assert torch.autograd.gradcheck(f, (x, kernel))
    assert torch.autograd.gradgradcheck(f, (x, kernel))


def test_the_geometries_cover_what_they_say():
    assert {g.stride for g in GEOMETRIES.values()} > {(1, 1), (2, 2)}
    assert {g.group_channels for g in GEOMETRIES.values()} > {1, 4, 16, 32}
