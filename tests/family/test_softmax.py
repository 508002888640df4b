"""The involution whose kernels are a softmax over the window, against the softmax and the formula in float64."""

import pytest
import torch
from formula import TOLERANCE, case, formula, layouts
from torch.func import jvp, vmap

from involution import family, involution1d, involution2d, involution3d
from involution.ops import axes

ops = torch.ops.involution


def normalized(scores, rank=2):
    return scores.flatten(2, 1 + rank).softmax(2).unflatten(2, scores.shape[2 : 2 + rank])


def check(tensors, arguments, dtype=torch.float64):
    """Output and gradients in `dtype` and in the layout of the tensors, against the formula in float64."""
    x, scores, grad = (t.to(dtype) for t in tensors)
    wide = [t.double().requires_grad_() for t in (x, scores)]
    expected_y = formula(wide[0], normalized(wide[1]), **arguments)
    expected = (expected_y, *torch.autograd.grad(expected_y, wide, grad.double()))
    leaves = [t.detach().requires_grad_() for t in (x, scores)]
    y = involution2d(*leaves, **arguments, softmax=True)
    got = (y, *torch.autograd.grad(y, leaves, grad))
    for name, value, right in zip(("y", "grad_x", "grad_scores"), got, expected, strict=True):
        assert value.dtype == dtype
        assert value.shape == right.shape
        error = (value.double() - right).abs().max() / right.abs().max().clamp(min=1)
        assert error <= TOLERANCE[dtype], f"{name}: {error:.2e}"


@pytest.mark.parametrize("scale", range(1, 9))
def test_values_of_every_scale(scale):
    for size, groups in (((5, 7), (3, 2)), ((3, 17), (1, 3)), ((9, 2), (2, 20)), ((4, 16), (1, 2))):
        check(*case((scale, scale), scale % 2 == 0, *groups, size))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("interleaved", [False, True], ids=["neighbours", "interleaved"])
@pytest.mark.parametrize("group_channels", [1, 3, 16, 17])
def test_values_of_groups(group_channels, interleaved, dtype):
    check(*case((2, 1), interleaved, 5, group_channels, (6, 35)), dtype)
    check(*case((1, 1), interleaved, 2, group_channels, (4, 33), window=(5, 5)), dtype)


@pytest.mark.parametrize(
    "geometry",
    [
        {"stride": (2, 3)},
        {"dilation": (2, 3), "size": (9, 11)},
        {"window": (1, 7), "size": (4, 40)},
        {"window": (9, 9), "size": (7, 50)},
        {"size": (1, 1)},
    ],
    ids=str,
)
def test_values_of_geometries(geometry):
    check(*case((1, 1), False, **geometry))
    check(*case((3, 2), True, **geometry))


@pytest.mark.parametrize("threads", [1, 3, 7])
def test_values_of_memory_layouts_and_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for scale, channels in (((2, 2), 3), ((1, 1), 16)):
            tensors, arguments = case(scale, threads == 3, 3, channels, (6, 21))
            for placed in zip(*map(layouts, tensors), strict=True):
                check(placed, arguments)
    finally:
        torch.set_num_threads(before)


def kernels_of(scores):
    """The kernels that the operator computes from [K, N]: windows of K pixels, of which channel t is one at pixel t."""
    taps, count = scores.shape
    x = torch.eye(taps, dtype=scores.dtype).repeat(1, count).view(1, taps, 1, taps * count)
    y = ops.involution2d_softmax(x, scores.view(1, 1, 1, taps, 1, count), [1, taps], [0, 0], [1, 1])
    return y.view(taps, count)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_are_within_few_units_in_the_last_place(dtype):
    least = 80 if dtype == torch.float32 else 700
    spread = torch.linspace(-least, 0, 20000, dtype=torch.float64).to(dtype)
    scores = torch.stack([spread, torch.zeros_like(spread), spread / 3])
    # The largest score is 0, so no rounding comes before the exponential.
    expected = scores.to(torch.float64).softmax(0)
    error = (kernels_of(scores).double() - expected).abs() / expected / torch.finfo(dtype).eps
    assert error.max() < (3 if dtype == torch.float32 else 6)  # the expected values of float64 have errors too


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_of_infinite_and_of_missing_scores_are_those_of_softmax(dtype):
    inf, nan = torch.inf, torch.nan
    columns = [[0, 1, -inf], [-inf, 3, -inf], [-inf] * 3, [inf, 0, 1], [inf, inf, 0], [inf, -inf, 0], [nan, 0, 1]]
    columns += [[1, nan, 0], [-inf, 0, nan], [inf, nan, 0], [nan] * 3, [1e4, -1e4, 0], [88, 89, 90], [0, -1e38, 1e38]]
    scores = torch.tensor(columns, dtype=dtype).mT.contiguous()
    # NaN in one weight is NaN in every sum: both are NaN in all of a column, or in none.
    torch.testing.assert_close(kernels_of(scores), scores.softmax(0), equal_nan=True)


def sample():
    (x, scores, _), _ = case((2, 3), True, 2, 2, (3, 2), (2, 3))
    x, scores = axes.split_channels(x, 2), axes.split_pixels(scores, (2, 3))
    leaves = [t.detach().clone().requires_grad_() for t in (x, scores)]
    return (*leaves, [1, 1], [0, 1], [1, 1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_registration_and_derivatives():
    op = ops.involution2d_softmax
    torch.library.opcheck(op.default, sample())
    assert torch.autograd.gradcheck(op, sample(), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(op, sample(), fast_mode=True, check_fwd_over_rev=True)


def test_vmap_is_a_loop():
    x, scores, *numbers = (t.detach() if isinstance(t, torch.Tensor) else t for t in sample())
    images, several = torch.randn(3, *x.shape, dtype=x.dtype), torch.randn(3, *scores.shape, dtype=x.dtype)
    for a, b, dims in ((images, scores, (0, None)), (x, several, (None, 0)), (images, several, (0, 0))):
        got = vmap(lambda a, b: ops.involution2d_softmax(a, b, *numbers), dims)(a, b)
        looped = [
            ops.involution2d_softmax(a[i] if dims[0] == 0 else a, b[i] if dims[1] == 0 else b, *numbers)
            for i in range(3)
        ]
        torch.testing.assert_close(got, torch.stack(looped))


def test_tangents_of_one_argument():
    (x, scores, _), _ = case((1, 1), False)
    for function, plain, given in (
        (lambda x: involution2d(x, scores, softmax=True), lambda x: involution2d(x, normalized(scores)), x),
        (lambda k: involution2d(x, k, softmax=True), lambda k: involution2d(x, normalized(k)), scores),
    ):
        direction = torch.randn_like(given)
        torch.testing.assert_close(jvp(function, (given,), (direction,)), jvp(plain, (given,), (direction,)))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_graph_breaks(dynamic):
    (x, scores, grad), arguments = case((2, 2), True)
    leaves = [x.requires_grad_(), scores.requires_grad_()]

    def loss(x, scores):
        return (involution2d(x, scores, **arguments, softmax=True) * grad).sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    expected = torch.autograd.grad(loss(*leaves), leaves)
    torch.testing.assert_close(torch.autograd.grad(compiled(*leaves), leaves), expected)


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank):
    size = [4, 5, 3][:rank]
    operator = involution1d if rank == 1 else involution3d
    x, scores = torch.randn(2, 4, *size).double(), torch.randn(2, 2, *[3] * rank, *size).double()
    torch.testing.assert_close(operator(x, scores, softmax=True), operator(x, normalized(scores, rank)))


def test_autocast_keeps_float32_as_for_a_softmax():
    (x, scores, _), arguments = case((1, 1), False)
    x, scores = x.float(), scores.float()
    with torch.autocast("cpu", torch.bfloat16):
        y = involution2d(x.bfloat16(), scores, **arguments, softmax=True)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, involution2d(x.bfloat16().float(), scores, **arguments, softmax=True))


def test_empty():
    assert ops.involution2d_softmax(torch.rand(0, 2, 3, 4), torch.rand(0, 1, 3, 3, 3, 4), *[[1, 1]] * 3).numel() == 0
    assert ops.involution2d_softmax(torch.rand(1, 2, 3, 4), torch.rand(1, 1, 3, 3, 0, 4), *[[1, 1]] * 3).numel() == 0


def test_the_family_normalizes():
    x, weight = torch.randn(2, 6, 9), torch.randn(2, 3, 5, 9)
    torch.testing.assert_close(
        family.dynamic_conv1d(x, weight, softmax=True), family.dynamic_conv1d(x, weight.softmax(2))
    )
    frames, core = torch.randn(2, 4, 3, 6, 7), torch.randn(2, 4, 25, 3, 6, 7)
    torch.testing.assert_close(
        family.predict_kernels(frames, core.flatten(1, 3), 5, softmax=True),
        family.predict_kernels(frames, core.softmax(2).flatten(1, 3), 5),
    )
