"""One, two and three dimensions: values, the spanned form, local products and memory formats, in float64."""

import itertools

import pytest
import torch

import involution
from involution import involution1d, involution2d, involution3d, local_products, spanned_involution

OPERATORS = (involution1d, involution2d, involution3d)
SIZE, WINDOW, STRIDE, DILATION = (6, 5, 7), (3, 2, 3), (2, 1, 2), (2, 3, 2)
SIDES = ((3, 0), (0, 1), (1, 4))


def out(rank):
    sums = zip(SIZE, WINDOW, STRIDE, DILATION, SIDES, strict=True)
    return [(n + front + behind - d * (k - 1) - 1) // s + 1 for n, k, s, d, (front, behind) in sums][:rank]


def geometry(rank):
    return {"stride": STRIDE[:rank], "dilation": DILATION[:rank], "padding": SIDES[:rank]}


def plainly(x, kernel, rank):
    """Every term of the sum by itself."""
    y = x.new_zeros(*x.shape[:2], *out(rank))
    for pixel in itertools.product(*map(range, out(rank))):
        for tap in itertools.product(*map(range, WINDOW[:rank])):
            at = [i * s + u * d - p for i, u, s, d, (p, _) in zip(pixel, tap, STRIDE, DILATION, SIDES, strict=False)]
            if all(0 <= n < size for n, size in zip(at, SIZE, strict=False)):
                k = kernel[(slice(None), slice(None), *tap, *pixel)].repeat_interleave(2, 1)
                y[(..., *pixel)] += k * x[(..., *at)]
    return y


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_values_with_stride_dilation_and_uneven_padding(rank):
    draw = {"dtype": torch.float64, "requires_grad": True}
    x = torch.randn(2, 4, *SIZE[:rank], **draw)
    reduced = torch.randn(2, 3, *out(rank), **draw)
    taps = 2 * torch.tensor(WINDOW[:rank]).prod().item()
    weight, bias = torch.randn(taps, 3, **draw), torch.randn(taps, **draw)
    kernel = torch.einsum("tr,br...->bt...", weight, reduced) + bias.view(-1, *[1] * rank)
    kernel = kernel.unflatten(1, (2, *WINDOW[:rank]))
    expected = plainly(x, kernel, rank)
    stored = OPERATORS[rank - 1](x, kernel, **geometry(rank))
    spanned = spanned_involution(x, reduced, weight, bias, WINDOW[:rank], **geometry(rank))
    torch.testing.assert_close(stored, expected)
    torch.testing.assert_close(spanned, expected)
    cotangent = torch.randn_like(expected)
    leaves = (x, reduced, weight, bias)
    grads = torch.autograd.grad(expected, leaves, cotangent, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(spanned, leaves, cotangent), grads)
    products = torch.autograd.grad(expected, kernel, cotangent)[0]
    torch.testing.assert_close(local_products(cotangent, x, 2, WINDOW[:rank], **geometry(rank)), products)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_volumes_of_16_bits_are_rounded_once(dtype):
    x, reduced = torch.randn(2, 32, 4, 5, 6).to(dtype), torch.randn(2, 8, 4, 5, 6).to(dtype)
    weight, bias = torch.randn(54, 8).to(dtype), torch.randn(54).to(dtype)
    kernel = torch.randn(2, 2, 3, 3, 3, 4, 5, 6).to(dtype)
    for op, given in ((involution3d, (x, kernel)), (spanned_involution, (x, reduced, weight, bias))):
        options = {} if op is involution3d else {"kernel_size": 3}
        y, expected = op(*given, **options), op(*(t.double() for t in given), **options)
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), expected, rtol=torch.finfo(dtype).eps / 2 + 1e-6, atol=3e-5)


def test_windows_that_lie_in_the_padding():
    """Every window is in front of the only plane or behind it."""
    x, kernel = torch.ones(1, 2, 1, 1, 1), torch.ones(1, 1, 1, 1, 1, 1, 1, 1)
    y = involution3d(x, kernel, stride=5, padding=2)
    assert torch.equal(y, torch.zeros(1, 2, 1, 1, 1))


@pytest.mark.parametrize("channels_last", [False, True])
def test_volumes_keep_their_memory_format_and_their_dtype_under_autocast(channels_last):
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    x = torch.randn(2, 4, 4, 5, 6).contiguous(memory_format=layout)
    kernel = torch.randn(2, 2, 3, 3, 3, 4, 5, 6)
    y = involution3d(x, kernel)
    assert y.is_contiguous(memory_format=layout)
    assert involution3d(x[:0], kernel[:0]).shape == (0, 4, 4, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        half = involution3d(x, kernel)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), y, rtol=0.05, atol=0.1)


REFUSED = {
    "features": ({"weight": torch.zeros(18, 4)}, r"weight: expected shape \[G·3·3, 8\], got \[18, 4\]"),
    "taps": ({"weight": torch.zeros(17, 8)}, r"weight: expected shape \[G·3·3, 8\], got \[17, 8\]"),
    "groups": ({"weight": torch.zeros(27, 8)}, r"weight: expected groups G that divide the 32 channels.*G = 3"),
    "bias": ({"bias": torch.zeros(9)}, r"bias: expected shape \[18\], got \[9\]"),
    "dtype": ({"weight": torch.zeros(18, 8).double()}, "weight: expected the dtype of x, torch.float32"),
    "rank": ({"reduced": torch.zeros(1, 8, 5)}, r"reduced: expected \[B, C, H, W\], got shape \[1, 8, 5\]"),
    "size": ({"reduced": torch.zeros(1, 8, 5, 5)}, "reduced: expected Wo = 6 for W = 6.*got 5"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_a_span_is_refused(change, message):
    span = {"reduced": torch.zeros(1, 8, 5, 6), "weight": torch.zeros(18, 8), "bias": None, "kernel_size": 3}
    with pytest.raises(ValueError, match=message):
        spanned_involution(torch.zeros(1, 32, 5, 6), **{**span, **change})


def test_local_products_are_refused():
    x = torch.zeros(1, 32, 5, 6)
    with pytest.raises(ValueError, match="query: expected the 32 channels of key, got 16"):
        local_products(x[:, :16], x, 2, 3)
    with pytest.raises(ValueError, match="groups: expected a divisor of the 32 channels, got 3"):
        local_products(x, x, 3, 3)
    with pytest.raises(ValueError, match="query: expected the batch size of key, 1, got 0"):
        local_products(x[:0], x, 2, 3)


def test_the_dilation_of_a_sequence_is_that_of_a_row():
    x, kernel = torch.randn(2, 6, 11), torch.randn(2, 3, 3, 11)
    row = involution.involution2d(x[:, :, None], kernel[:, :, None, :, None], dilation=(1, 2))
    torch.testing.assert_close(involution.involution1d(x, kernel, dilation=2), row.squeeze(2))
