"""Small kernel aggregation as an operator, against the formula."""

import pytest
import torch
from tests.family.formula import TOLERANCE, formula, layouts
from torch.func import vmap
from torch.utils.flop_counter import FlopCounterMode

from involution import family, involution2d
from involution.ops import cpu, layout

ops = torch.ops.involution
CASES = [  # channels, groups, K, size
    (12, 3, 3, (5, 7)),
    (16, 2, 3, (4, 4)),  # LSNet's smallest map
    (24, 3, 3, (7, 7)),
    (8, 8, 2, (3, 9)),
    (6, 1, 5, (6, 2)),
    (4, 2, 4, (11, 1)),
    (2, 1, 1, (1, 1)),
    (8, 2, 3, (70, 40)),  # too large to be one line
]


def drawn(channels, groups, size, image, dtype=torch.float64):
    generator = torch.Generator().manual_seed(channels + size)
    shapes = (3, channels, *image), (3, groups, size**2, *image)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", CASES)
def test_values_in_every_layout(shape, dtype):
    x, w = drawn(*shape, dtype)
    kernel = w.double().unflatten(2, (shape[2], shape[2]))
    front = (shape[2] - 1) // 2
    expected = formula(x.double(), kernel, True, padding=(front, front))
    for x_layout in layouts(x):
        for w_layout in (
            w,
            w.transpose(1, 2).contiguous().transpose(1, 2),
            w.movedim(0, -1).contiguous().movedim(-1, 0),
        ):
            y = family.ska(x_layout, w_layout)
            assert y.dtype == dtype
            torch.testing.assert_close(y.double(), expected, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])
            assert layout.is_channels_last(y) == layout.is_channels_last(x_layout)


def test_threads_do_not_change_the_result():
    x, w = drawn(64, 8, 3, (14, 14), torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(family.ska(x, w))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(y, results[0]) for y in results)


def test_expanded_kernels_and_empty_maps():
    x, w = drawn(6, 2, 3, (4, 5))
    one = w[:1, :, :1].expand(3, -1, 9, -1, -1)
    torch.testing.assert_close(family.ska(x, one), family.ska(x, one.contiguous()))
    for batch, height in ((0, 4), (3, 0)):
        assert ops.ska(x[:batch, :, :height], w[:batch, :, :, :height]).shape == (batch, 6, height, 5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_registration_and_derivatives():
    arguments = [t[:2].detach().requires_grad_() for t in drawn(4, 2, 3, (3, 2))]
    torch.library.opcheck(ops.ska.default, arguments)
    assert torch.autograd.gradcheck(ops.ska, arguments, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(ops.ska, arguments, fast_mode=True, check_fwd_over_rev=True)


def test_vmap_is_a_loop():
    x, w = drawn(4, 2, 3, (3, 5))
    images, several = torch.stack([x, 2 * x]), torch.stack([w, w.flip(2)])
    for a, b, dims in ((images, w, (0, None)), (x, several, (None, 0)), (images, several, (0, 0))):
        looped = [ops.ska(a[i] if dims[0] == 0 else a, b[i] if dims[1] == 0 else b) for i in range(2)]
        torch.testing.assert_close(vmap(ops.ska, dims)(a, b), torch.stack(looped))


def test_operations_and_autocast_are_those_of_the_involution():
    x, w = drawn(6, 2, 3, (4, 5), torch.float32)
    plain = lambda: involution2d(x, w.unflatten(2, (3, 3)), interleaved=True)  # noqa: E731
    counts = []
    for call in (lambda: family.ska(x, w), plain):
        with FlopCounterMode(display=False) as counter:
            call()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 3 * 6 * 9 * 4 * 5
    with torch.autocast("cpu", torch.bfloat16):
        assert family.ska(x, w).dtype == plain().dtype == torch.bfloat16


def test_kernels_without_taps_are_refused_before_the_operator():
    with pytest.raises(ValueError, match=r"w: expected a square number of taps, K\*K, got 0"):
        family.ska(torch.rand(1, 4, 5, 6), torch.rand(1, 2, 0, 5, 6))


WRONG = {
    "K·K": (torch.rand(1, 4, 5, 6), torch.rand(1, 2, 8, 5, 6), "w: expected a square number of taps"),
    "no taps": (torch.rand(1, 4, 5, 6), torch.rand(1, 2, 0, 5, 6), "w: expected a square number of taps"),
    "huge": (
        torch.rand(1, 4, 5, 6),
        torch.rand(1, 2, 1, 5, 6).expand(1, 2, 2**41, 5, 6),
        "w: expected a square number",
    ),
    "axes of w": (torch.rand(1, 4, 5, 6), torch.rand(1, 2, 3, 3, 5, 6), r"w: expected \[B, G, K\*K, H, W\]"),
    "axes of x": (torch.rand(4, 5, 6), torch.rand(1, 2, 9, 5, 6), "x: expected 4 dimensions"),
    "groups": (torch.rand(1, 4, 5, 6), torch.rand(1, 3, 9, 5, 6), "w: expected groups G that divide the 4 channels"),
    "no groups": (torch.rand(1, 4, 5, 6), torch.rand(1, 0, 9, 5, 6), "w: expected groups G that divide the 4 channels"),
    "batch": (torch.rand(2, 4, 5, 6), torch.rand(1, 2, 9, 5, 6), "w: expected the batch size, rows and columns of x"),
    "rows": (torch.rand(1, 4, 5, 6), torch.rand(1, 2, 9, 4, 6), "w: expected the batch size, rows and columns of x"),
    "columns": (torch.rand(1, 4, 5, 6), torch.rand(1, 2, 9, 5, 7), "w: expected the batch size, rows and columns of x"),
    "dtype": (torch.rand(1, 4, 5, 6), torch.rand(1, 2, 9, 5, 6).double(), "w: expected the dtype of x"),
}


@pytest.mark.skipif(not cpu.status()["loaded"], reason="the checks of the C++ extension")
@pytest.mark.parametrize("case", WRONG)
def test_the_operator_checks_its_arguments(case):
    x, w, message = WRONG[case]
    with torch.inference_mode(), pytest.raises(RuntimeError, match=message):
        ops.ska(x, w)
