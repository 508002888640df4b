"""The compiled operators for CPU tensors: threads, rounding, errors, and out-of-bounds accesses."""

import ctypes
import math
import mmap
import sys

import pytest
import torch
from geometries import GEOMETRIES, Geometry
from test_operators import check, dispatched, results

from involution.ops import cpu

ops = torch.ops.involution
pytestmark = pytest.mark.skipif(not cpu.status()["loaded"], reason="the extension was not built")
UNIT = ([1, 1], [0, 0], [1, 1])


@pytest.fixture(params=[1, 3, 7])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


SHARED = {
    "stride beyond window": Geometry(batch=1, height=54, width=9, window=(1, 1), stride=(2, 2)),
    "stride 4, window 3": Geometry(batch=1, height=56, width=7, stride=(4, 4)),
    "few rows, many groups": Geometry(batch=1, groups=12, height=5, width=30, window=(7, 7)),
    "few rows, groups of 5 channels": Geometry(batch=1, groups=11, group_channels=5, height=3, width=60, window=(7, 7)),
    "few rows, one group of many channels": Geometry(batch=1, groups=1, group_channels=160, height=3, width=40),
    "more images than threads": Geometry(batch=9, groups=4, height=6, width=8, window=(7, 7)),
    "dilation and stride": Geometry(batch=2, groups=4, height=23, width=29, stride=(2, 3), dilation=(3, 2)),
    "dilation": Geometry(batch=1, groups=3, height=40, width=20, window=(5, 5), dilation=(4, 4)),
}


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("geometry", SHARED.values(), ids=SHARED)
def test_values_on_threads(geometry, channels_last, threads):
    check(geometry, torch.float32, channels_last)


def test_the_weight_in_several_parts(threads):
    """A weight beyond the cache is divided by groups, and every share of the rows is added."""
    geometry = Geometry(batch=3, groups=24, group_channels=4, height=4, width=5, window=(7, 7))
    t = geometry.tensors(torch.float32, True, reduced=60)
    got = results(dispatched, t, geometry)
    wide = results(dispatched, {name: value.double() for name, value in t.items()}, geometry)
    again = results(dispatched, t, geometry)
    for name, expected in wide.items():
        assert torch.equal(got[name], again[name]), name
        torch.testing.assert_close(got[name].double(), expected, rtol=1e-4, atol=1e-3)


# Rounding. y = 1·a + 1·b is one sum in float32, rounded once.


def every_value(dtype):
    return torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)


def sum_of_two(a, b):
    """The sums a + b, as the operator takes and rounds them."""
    x = torch.stack([a, b], -1).reshape(1, 1, 1, -1)
    kernel = torch.ones(1, 1, 1, 2, 1, len(a), dtype=a.dtype)
    return ops.involution2d(x, kernel, [1, 2], [0, 0], [1, 1]).flatten()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_value_of_the_narrow_types_is_read_and_written(dtype):
    values = every_value(dtype)
    finite = values[values.isfinite()]
    assert torch.equal(sum_of_two(finite, torch.zeros_like(finite)), finite)
    for infinite in (math.inf, -math.inf):
        ends = torch.full((5,), infinite, dtype=dtype)
        assert torch.equal(sum_of_two(ends, torch.ones_like(ends)), ends)
    nan = values[values.isnan()]
    sums = sum_of_two(nan, torch.zeros_like(nan))
    assert sums.isnan().all()
    if dtype == torch.bfloat16:  # every NaN becomes the quiet one, as in PyTorch
        assert sums.view(torch.int16).eq(0x7FC0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sums_are_rounded_to_nearest_and_ties_to_even(dtype):
    values = every_value(dtype)
    values = values[values.isfinite()]
    upper = torch.nextafter(values.float().to(dtype), torch.full_like(values, math.inf))
    half = ((upper.double() - values.double()) / 2).to(dtype)
    ties = half.double() == (upper.double() - values.double()) / 2  # the half is itself a number
    for a, b in ((values[ties], half[ties]), (values, values.roll(1)), (values, values.roll(12345))):
        expected = (a.float() + b.float()).to(dtype)
        got = sum_of_two(a, b)
        assert torch.equal(got.isnan(), expected.isnan())
        assert torch.equal(got.nan_to_num(0), expected.nan_to_num(0))
    assert ties.sum() > 1000


# Refusals: these operators may be called without the checks of the public functions.

X, KERNEL, GRAD = torch.zeros(2, 32, 5, 6), torch.zeros(2, 2, 3, 3, 5, 6), torch.zeros(2, 32, 5, 6)
REDUCED, WEIGHT, BIAS = torch.zeros(2, 4, 5, 6), torch.zeros(18, 4), torch.zeros(18)
PAIRS = ([1, 1], [1, 1], [1, 1])
SPAN = (X, REDUCED, WEIGHT, BIAS, 2, [3, 3], *PAIRS)


def changed(arguments, place, value):
    return (*arguments[:place], value, *arguments[place + 1 :])


Y, FOR_X = (X, KERNEL, *PAIRS), (GRAD, KERNEL, [5, 6], *PAIRS)
FOR_KERNEL, BACKWARD = (GRAD, X, 2, [3, 3], *PAIRS), (GRAD, *SPAN)
REFUSED = {
    "dtype of kernel": ("", changed(Y, 1, KERNEL.double()), "kernel: expected the dtype of x, float32, got float64"),
    "integers": ("", (X.int(), KERNEL.int(), *PAIRS), "x: expected float32, float64, bfloat16 or float16"),
    "rank of x": ("", changed(Y, 0, X[0]), r"x: expected 4 dimensions, got shape \[32, 5, 6\]"),
    "rank of kernel": ("", changed(Y, 1, KERNEL[0]), r"kernel: expected \[B, G, Kh, Kw, Ho, Wo\], got shape \[2, 3"),
    "groups": ("", changed(Y, 1, torch.zeros(2, 3, 3, 3, 5, 6)), "kernel: expected groups G that divide the 32.*G = 3"),
    "batch of kernel": ("", changed(Y, 1, KERNEL[:1]), "kernel: expected the batch size of x, 2, got 1"),
    "window of nothing": ("", changed(Y, 1, KERNEL[:, :, :0]), "window: expected a pair of numbers from 1"),
    "one stride": ("", changed(Y, 2, [1]), "stride|Expected a list of 2|int\\[2\\]"),
    "zero stride": ("", changed(Y, 2, [0, 1]), "stride: expected a pair of numbers from 1 to"),
    "negative padding": ("", changed(Y, 3, [1, -1]), "padding: expected a pair of numbers from 0"),
    "zero dilation": ("", changed(Y, 4, [1, 0]), "dilation: expected a pair of numbers from 1"),
    "dilation that overflows": ("", changed(Y, 4, [2**62, 1]), "dilation: expected a pair of numbers from 1 to 2"),
    "columns that overflow": (
        "",
        (torch.zeros(1, 1, 1, 1).expand(1, 1, 1, 2**31), torch.zeros(1, 1, 1, 1, 1, 1), *UNIT),
        r"x: expected fewer than 2\^31 rows and columns",
    ),
    "kernel and grad": ("_grad_x", changed(FOR_X, 1, KERNEL[..., :3]), "kernel: expected the batch size, rows and"),
    "negative size": ("_grad_x", changed(FOR_X, 2, [-1, 6]), "size: expected the rows and columns of x"),
    "dtype of x": ("_grad_kernel", changed(FOR_KERNEL, 1, X.half()), "x: expected the dtype of grad, float32, got flo"),
    "x and grad": (
        "_grad_kernel",
        changed(FOR_KERNEL, 1, X[:, :16]),
        "x: expected the batch size and channels of grad",
    ),
    "no groups": ("_grad_kernel", changed(FOR_KERNEL, 2, 0), "kernel: expected groups G that divide"),
    "batch of reduced": ("_spanned", changed(SPAN, 1, REDUCED[:1]), "reduced: expected the batch size of x, 2, got 1"),
    "rank of reduced": ("_spanned", changed(SPAN, 1, REDUCED[0]), "reduced: expected 4 dimensions"),
    "dtype of reduced": ("_spanned", changed(SPAN, 1, REDUCED.double()), "reduced: expected the dtype of x"),
    "dtype of weight": ("_spanned", changed(SPAN, 2, WEIGHT.bfloat16()), "weight: .* float32, got bfloat16"),
    "dtype of bias": ("_spanned", changed(SPAN, 3, BIAS.double()), "bias: expected the dtype of x"),
    "rows of weight": (
        "_spanned",
        changed(SPAN, 2, WEIGHT[:17]),
        r"weight: expected .* = \[18, 4\], got shape \[17, 4",
    ),
    "columns of weight": ("_spanned", changed(SPAN, 2, WEIGHT[:, :3]), r"weight: expected .* = \[18, 4\]"),
    "rank of weight": ("_spanned", changed(SPAN, 2, WEIGHT[0]), "weight: expected"),
    "size of bias": ("_spanned", changed(SPAN, 3, BIAS[:9]), r"bias: expected \[G\*Kh\*Kw\] = \[18\], got shape \[9\]"),
    "rank of bias": ("_spanned", changed(SPAN, 3, WEIGHT), "bias: expected"),
    "dtype of grad": ("_spanned_backward", changed(BACKWARD, 0, GRAD.double()), "grad: expected the dtype of x"),
    "size of grad": (
        "_spanned_backward",
        changed(BACKWARD, 0, GRAD[..., :5]),
        "grad: expected the batch size and chan",
    ),
    "channels of grad": ("_spanned_backward", changed(BACKWARD, 0, GRAD[:, :16]), "grad: expected the batch size and"),
    "short mask": ("_spanned_backward", (*BACKWARD, [True, False]), "output_mask|bool\\[4\\]"),
}


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(name, arguments, message):
    with pytest.raises((RuntimeError, TypeError), match=message) as error:
        getattr(ops, f"involution2d{name}")(*arguments)
    assert ".cpp" not in str(error.value) and ".h:" not in str(error.value)


def test_out_of_memory_is_an_error(threads):
    far = ([1, 1], [3 * 10**8] * 2, [10**8] * 2)
    x, kernel = torch.zeros(1, 512, 8, 8), torch.zeros(1, 1, 7, 7, 8, 8)
    reduced, weight = torch.zeros(1, 2, 8, 8), torch.zeros(49, 2)
    calls = {
        "involution2d": (x, kernel),
        "involution2d_grad_x": (x, kernel, [8, 8]),
        "involution2d_grad_kernel": (x, x, 1, [7, 7]),
        "involution2d_spanned": (x, reduced, weight, None, 1, [7, 7]),
        "involution2d_spanned_backward": (x, x, reduced, weight, None, 1, [7, 7]),
    }
    for name, arguments in calls.items():
        with pytest.raises(RuntimeError, match=r"involution: not enough memory: a thread asked for \d+ bytes"):
            dispatched(name)(*arguments, *far)


def test_rows_in_memory_do_not_grow_with_dilation():
    """Seven rows of 45 MB are held at most, where the window reaches over 60 001."""
    resource = pytest.importorskip("resource")
    x, kernel = torch.randn(1, 16, 8, 8), torch.randn(1, 1, 7, 7, 8, 8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    y = ops.involution2d(x, kernel, [1, 1], [30000] * 2, [10000] * 2)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    torch.testing.assert_close(y, kernel[:, :, 3, 3] * x)
    assert grown < 100 * 2**20


@pytest.mark.parametrize("sizes", [(2, 16, 0, 6), (2, 16, 6, 0), (0, 16, 6, 6)], ids=str)
def test_gradients_of_an_empty_image_are_zero(sizes):
    batch, out = sizes[0], [4, 4]
    x, grad = torch.zeros(sizes), torch.ones(batch, 16, *out)
    reduced, weight, bias = torch.ones(batch, 3, *out), torch.ones(9, 3), torch.ones(9)
    for _ in range(3):
        junk = [torch.full((size,), math.nan) for size in (batch * 3 * 16, 27, 9) for _ in range(4)]
        del junk
        grads = ops.involution2d_spanned_backward(grad, x, reduced, weight, bias, 1, [3, 3], [1, 1], [3, 3], [1, 1])
        for value, like in zip(grads, (x, reduced, weight, bias), strict=True):
            assert value.shape == like.shape and not value.any()
    kernel = torch.ones(batch, 1, 3, 3, *out)
    assert not ops.involution2d(x, kernel, [1, 1], [3, 3], [1, 1]).any()
    assert not ops.involution2d_grad_kernel(grad, x, 1, [3, 3], [1, 1], [3, 3], [1, 1]).any()


def test_no_channels_and_no_outputs():
    assert not ops.involution2d_grad_kernel(X[:, :0], X[:, :0], 1, [3, 3], *PAIRS).any()
    grad_x = ops.involution2d_grad_x(GRAD[..., :0], KERNEL[..., :0], [5, 6], *PAIRS)
    assert grad_x.shape == (2, 32, 5, 6) and not grad_x.any()
    no_features = ops.involution2d_spanned(X + 1, REDUCED[:, :0], WEIGHT[:, :0], BIAS + 1, 2, [3, 3], *PAIRS)
    assert no_features[0, 0, 1, 1] == 9


# Memory beyond a tensor: pages that cannot be read or written lie before and behind it.

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Tensors that end, or begin, at an inaccessible page."""

    def __init__(self):
        self.maps = []

    def __call__(self, tensor, at_end):
        size = tensor.untyped_storage().nbytes()
        pages = max(-(-size // PAGE), 1)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self.maps.append(memory)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in (start, start + (pages + 1) * PAGE):
            assert LIBC.mprotect(ctypes.c_void_p(page), PAGE, 0) == 0
        offset = PAGE + (pages * PAGE - size if at_end else 0)
        if not size:
            return tensor
        flat = torch.frombuffer(memory, dtype=tensor.dtype, count=size // tensor.itemsize, offset=offset)
        return flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor)


GUARDED = ["same 7x7", "stride 2, odd", "4 channels a group", "5 channels a group", "1 channel a group", "one pixel"]


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages as Linux does")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", GUARDED)
def test_nothing_beyond_a_tensor_is_touched(name, dtype):
    for channels_last in (False, True):
        for at_end in (False, True):
            guard = Guarded()
            check(GEOMETRIES[name], dtype, channels_last, lambda t: {n: guard(v, at_end) for n, v in t.items()})  # noqa: B023
