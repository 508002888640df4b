"""Errors for invalid arguments contain the name, the expected and the actual value."""

import numpy as np
import pytest
import torch

from involution import Involution2d, involution1d, involution2d, involution3d

X, KERNEL = torch.zeros(2, 32, 5, 6), torch.zeros(2, 2, 3, 3, 5, 6)

REFUSED = {
    "groups": (
        {"kernel": torch.zeros(2, 3, 3, 3, 5, 6)},
        r"kernel: expected groups G that divide the 32 channels.*G = 3",
    ),
    "size": ({"kernel": torch.zeros(2, 2, 3, 3, 5, 5)}, r"kernel: expected Wo = 6 for W = 6.*got 5"),
    "stride": ({"stride": 2}, r"kernel: expected Ho = 3 .*got 5"),
    "batch": ({"kernel": torch.zeros(1, 2, 3, 3, 5, 6)}, r"kernel: expected the batch size of x, 2, got 1"),
    "dtype": ({"kernel": KERNEL.double()}, r"kernel: expected the dtype of x, torch.float32, got torch.float64"),
    "device": ({"kernel": KERNEL.to("meta")}, r"kernel: expected the device of x, cpu, got meta"),
    "integers": ({"x": X.int(), "kernel": KERNEL.int()}, r"x: expected a floating-point tensor, got torch.int32"),
    "a list": ({"x": [[1.0]]}, r"x: expected a Tensor, got list"),
    "no kernel": ({"kernel": None}, r"kernel: expected a Tensor, got NoneType"),
    "rank of x": ({"x": X[0]}, r"x: expected \[B, C, H, W\], got shape \[32, 5, 6\]"),
    "rank of kernel": ({"kernel": KERNEL[0]}, r"kernel: expected \[B, G, Kh, Kw, Ho, Wo\], got shape"),
    "negative padding": ({"padding": -1}, r'padding: expected "same", an int .* each at least 0, got -1'),
    "unknown padding": ({"padding": "valid"}, r'padding: expected "same", an int or.* got \'valid\''),
    "three paddings": ({"padding": (1, 1, 1)}, r"padding: expected .* per axis \(2\).*got \(1, 1, 1\)"),
    "half a side": ({"padding": ((1,), (1, 1))}, r"padding: expected .*\(front, behind\).*got \(\(1,\), \(1, 1\)\)"),
    "one side": (
        {"padding": ((0, 1), (1, 1))},
        r"kernel: expected Ho = 4 for H = 5.*padding \(\(0, 1\),.*got 5",
    ),
    "zero stride": ({"stride": 0}, r"stride: expected an int or a pair, each at least 1, got 0"),
    "fractional stride": ({"stride": 1.5}, r"stride: expected an int or a pair, each at least 1, got 1.5"),
    "no dilation": ({"dilation": None}, r"dilation: expected an int or a pair, each at least 1, got None"),
    "fractional padding": ({"padding": 2.0}, r'padding: expected "same", an int .* got 2.0'),
    "three dilations": ({"dilation": (1, 1, 1)}, r"dilation: expected an int or a pair.*got \(1, 1, 1\)"),
    "too small": ({"padding": 0, "dilation": 3}, r"kernel: expected a window that fits into the padded input"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        involution2d(**{"x": X, "kernel": KERNEL, **change})


def test_autocast_mixes_all_dtypes_but_float64():
    with torch.autocast("cpu", torch.bfloat16):
        assert involution2d(X, KERNEL.bfloat16()).dtype == torch.bfloat16
        for x, kernel in ((X, KERNEL.double()), (X.double(), KERNEL)):
            with pytest.raises(ValueError, match=f"kernel: expected the dtype of x, {x.dtype}, got {kernel.dtype}"):
                involution2d(x, kernel)


def test_an_accepted_call_does_not_excuse_another():
    """Checks are remembered: what equals an accepted argument, or was accepted under autocast, is still refused."""
    involution2d(X, KERNEL, stride=(1, 1))
    with pytest.raises(ValueError, match=r"stride: expected an int or a pair, each at least 1, got \(1.0, 1\)"):
        involution2d(X, KERNEL, stride=(1.0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        involution2d(X, KERNEL.half())
    with pytest.raises(ValueError, match=r"kernel: expected the dtype of x, torch\.float32, got torch\.float16"):
        involution2d(X, KERNEL.half())


def test_integers_of_numpy():
    x, kernel = torch.randn(1, 4, 7, 7), torch.randn(1, 2, 3, 3, 3, 3)
    y = involution2d(x, kernel, np.int64(2), (np.int32(0), (np.int64(0), 0)), np.uint8(1))
    torch.testing.assert_close(y, involution2d(x, kernel, 2, 0, 1))
    layer = Involution2d(16, np.int64(3), stride=(np.int64(2), 1))
    assert [type(size) for size in layer.kernel_size + layer.stride] == [int] * 4
    assert layer(torch.randn(1, 16, 5, 6)).shape == (1, 16, 3, 6)


def test_refused_in_other_dimensions():
    with pytest.raises(ValueError, match=r"x: expected \[B, C, W\]"):
        involution1d(X, torch.zeros(2, 2, 3, 5))
    with pytest.raises(ValueError, match=r"kernel: expected \[B, G, Kd, Kh, Kw, Do, Ho, Wo\]"):
        involution3d(torch.zeros(1, 4, 3, 3, 3), KERNEL)


def test_integers_and_pairs_say_the_same():
    x, kernel = torch.randn(1, 4, 7, 7), torch.randn(1, 2, 3, 3, 3, 3)
    expected = involution2d(x, kernel, (2, 2), (0, 0), (1, 1))
    torch.testing.assert_close(involution2d(x, kernel, 2, 0, 1), expected)


def test_padding_same_of_an_even_window_is_that_of_a_convolution():
    x, weight = torch.randn(1, 2, 5, 6, dtype=torch.float64), torch.randn(2, 1, 4, 2, dtype=torch.float64)
    with pytest.warns(UserWarning, match="even kernel lengths"):
        expected = torch.conv2d(x, weight, padding="same", groups=2)
    y = involution2d(x, weight.view(1, 2, 4, 2, 1, 1).expand(-1, -1, -1, -1, 5, 6))
    torch.testing.assert_close(y, expected)
