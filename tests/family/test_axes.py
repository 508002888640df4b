"""Scale and interleaved groups in the operators, against the formula, which gathers every window by index."""

import itertools

import pytest
import torch
from formula import TOLERANCE, case, formula, layouts
from torch.func import jvp, vmap

from involution import involution1d, involution2d, involution3d, local_products
from involution.ops import axes, softmax

ops = torch.ops.involution


def check(tensors, arguments, dtype=torch.float64):
    """The three contractions in `dtype` and in the layout of the tensors, against the formula in float64."""
    x, kernel, grad = (t.to(dtype) for t in tensors)  # preserves strides
    wide = [t.double().requires_grad_() for t in (x, kernel)]
    expected_y = formula(*wide, **arguments)
    expected = (expected_y, *torch.autograd.grad(expected_y, wide, grad.double()))
    leaves = [t.detach().requires_grad_() for t in (x, kernel)]
    y = involution2d(*leaves, **arguments)
    got = (y, *torch.autograd.grad(y, leaves, grad))
    for name, value, right in zip(("y", "grad_x", "grad_kernel"), got, expected, strict=True):
        assert value.dtype == dtype
        assert value.shape == right.shape
        error = (value.double() - right).abs().max() / right.abs().max().clamp(min=1)
        assert error <= TOLERANCE[dtype], f"{name}: {error:.2e}"
    return got


@pytest.mark.parametrize("interleaved", [False, True], ids=["neighbours", "interleaved"])
@pytest.mark.parametrize("scale", range(1, 9))
def test_values_of_every_scale(scale, interleaved):
    for size, groups in (((5, 7), (3, 2)), ((3, 17), (1, 3)), ((9, 2), (2, 20))):
        check(*case((scale, scale), interleaved, *groups, size))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("interleaved", [False, True], ids=["neighbours", "interleaved"])
@pytest.mark.parametrize("group_channels", [1, 2, 3, 4, 5, 8, 16, 17])
def test_values_of_groups(group_channels, interleaved, dtype):
    check(*case((2, 1), interleaved, 5, group_channels, (6, 35)), dtype)
    check(*case((1, 1), interleaved, 2, group_channels, (4, 33), window=(5, 5)), dtype)


@pytest.mark.parametrize("interleaved", [False, True], ids=["neighbours", "interleaved"])
@pytest.mark.parametrize(
    "geometry",
    [
        {"stride": (2, 3)},
        {"dilation": (2, 3), "size": (9, 11)},
        {"window": (1, 7), "size": (4, 40)},
        {"window": (5, 2), "stride": (3, 2), "dilation": (1, 4), "size": (11, 19)},
        {"window": (9, 9), "size": (7, 50)},
        {"window": (3, 3), "stride": (2, 2), "dilation": (2, 2), "size": (13, 6)},
        {"size": (1, 1)},
    ],
    ids=str,
)
def test_values_of_geometries(geometry, interleaved):
    for scale in ((1, 1), (3, 2)):
        check(*case(scale, interleaved, **geometry))


@pytest.mark.parametrize("threads", [1, 3, 7])
@pytest.mark.parametrize("interleaved", [False, True], ids=["neighbours", "interleaved"])
def test_values_of_memory_layouts_and_threads(interleaved, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for scale, channels in (((2, 2), 3), ((1, 1), 16)):
            tensors, arguments = case(scale, interleaved, 3, channels, (6, 21))
            for placed in zip(*map(layouts, tensors), strict=True):
                check(placed, arguments)
    finally:
        torch.set_num_threads(before)


def in_planes(kernel):
    """The same kernels [B, G, Kh, Kw, Ho, Sh, Wo, Sw], in a plane for each output pixel of a window and tap."""
    order = 0, 1, 2, 3, 5, 7, 4, 6
    return kernel.permute(order).contiguous().permute([order.index(d) for d in range(8)])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "geometry",
    [
        {"size": (11, 180)},  # a page has two rows of float64 and eleven of bfloat16
        {"size": (23, 33)},
        {"size": (3, 600)},
        {"size": (25, 60), "stride": (2, 1), "dilation": (2, 1)},
        {"size": (25, 60), "stride": (3, 2)},
        {"size": (17, 60), "dilation": (2, 1)},
    ],
    ids=str,
)
def test_values_of_kernels_in_planes(geometry, dtype):
    (x, kernel, _), arguments = case((3, 2), False, 1, 3, **geometry)
    x, kernel = x.to(dtype), kernel.to(dtype)
    split, numbers = in_planes(axes.split_pixels(kernel, (3, 2))), list(arguments.values())[:3]
    before = torch.get_num_threads()
    for op, weights in (
        (ops.involution2d, kernel.double()),
        (ops.involution2d_softmax, softmax.kernels(kernel.double())),
    ):
        expected = formula(x.double(), weights, **arguments)
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            y = axes.merge_pixels(op(x, split, *numbers))
            torch.set_num_threads(before)
            assert (y.double() - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("interleaved", [False, True], ids=["neighbours", "interleaved"])
def test_memory_format_in_is_memory_format_out(interleaved, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    (x, kernel, grad), arguments = case((2, 2), interleaved)
    x, grad = x.contiguous(memory_format=layout).requires_grad_(), grad.contiguous(memory_format=layout)
    y = involution2d(x, kernel, **arguments)
    assert y.is_contiguous(memory_format=layout)
    assert torch.autograd.grad(y, x, grad)[0].is_contiguous(memory_format=layout)


def samples():
    """Arguments of the operators with the axes of scale and interleaved groups."""
    (x, kernel, grad), _ = case((2, 3), True, 2, 2, (3, 2), (2, 3))
    x, grad = axes.split_channels(x, 2), axes.split_pixels(axes.split_channels(grad, 2), (2, 3))
    kernel, geometry = axes.split_pixels(kernel, (2, 3)), ([1, 1], [0, 1], [1, 1])
    tensors = [t.detach().clone().requires_grad_() for t in (x, kernel, grad)]
    x, kernel, grad = tensors
    return {
        "involution2d": (x, kernel, *geometry),
        "involution2d_grad_x": (grad, kernel, [3, 2], *geometry),
        "involution2d_grad_kernel": (grad, x, 2, [2, 3], *geometry),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", samples())
def test_registration_and_derivatives(name):
    arguments, op = samples()[name], getattr(ops, name)
    torch.library.opcheck(op.default, arguments)
    assert torch.autograd.gradcheck(op, arguments, fast_mode=True, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(op, arguments, fast_mode=True, check_fwd_over_rev=True)


@pytest.mark.parametrize("name", samples())
def test_vmap_is_a_loop(name):
    first, second, *numbers = samples()[name]
    pairs = [(torch.randn(3, *first.shape, dtype=first.dtype), second.detach()), (first.detach(), second[None] * 2)]
    pairs.append((pairs[0][0], torch.randn(3, *second.shape, dtype=second.dtype)))
    for (a, b), dims in zip(pairs, ((0, None), (None, 0), (0, 0)), strict=True):
        got = vmap(lambda a, b: getattr(ops, name)(a, b, *numbers), dims)(a, b)
        size = len(a) if dims[0] == 0 else len(b)
        looped = [
            getattr(ops, name)(a[i] if dims[0] == 0 else a, b[i] if dims[1] == 0 else b, *numbers) for i in range(size)
        ]
        torch.testing.assert_close(got, torch.stack(looped))


def test_forward_mode_through_the_public_function():
    (x, kernel, _), arguments = case((2, 2), True)
    _, tangent = jvp(lambda x: involution2d(x, kernel, **arguments), (x,), (x,))
    torch.testing.assert_close(tangent, involution2d(x, kernel, **arguments))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_graph_breaks(dynamic):
    (x, kernel, grad), arguments = case((2, 2), True)
    leaves = [x.requires_grad_(), kernel.requires_grad_()]

    def gradients(x, kernel):
        return torch.autograd.grad((involution2d(x, kernel, **arguments) * grad).sum(), (x, kernel))

    expected = gradients(*leaves)
    compiled = torch.compile(
        lambda x, kernel: (involution2d(x, kernel, **arguments) * grad).sum(),
        fullgraph=True,
        dynamic=dynamic,
        backend="aot_eager",
    )
    torch.testing.assert_close(torch.autograd.grad(compiled(*leaves), leaves), expected)


def test_multiply_adds_are_counted():
    from torch.utils.flop_counter import FlopCounterMode

    (x, kernel, _), arguments = case((2, 3), True)
    with FlopCounterMode(display=False) as counter:
        y = involution2d(x.requires_grad_(), kernel.requires_grad_(), **arguments)
        y.sum().backward()
    assert counter.get_total_flops() == 3 * 2 * y.numel() * 9


@pytest.mark.parametrize(("rank", "interleaved"), [(1, False), (1, True), (3, False), (3, True)])
def test_other_ranks(rank, interleaved):
    size, scale, window = [3, 5, 4][:rank], [2, 3, 1][:rank], [3, 3, 1][:rank]
    out = [n * r for n, r in zip(size, scale, strict=True)]
    x, kernel = torch.randn(2, 6, *size, dtype=torch.float64), torch.randn(2, 3, *window, *out, dtype=torch.float64)
    operator = involution1d if rank == 1 else involution3d
    y = operator(x, kernel, scale=scale, interleaved=interleaved)
    # A nearest-neighbour upsampling before the call, and taps that are as far apart as it makes them.
    expected = torch.zeros_like(y)
    group = torch.arange(6) % 3 if interleaved else torch.arange(6) // 2
    for taps in itertools.product(*map(range, window)):
        shifted = x
        for axis, (tap, k) in enumerate(zip(taps, window, strict=True)):
            index = torch.arange(size[axis]) + tap - (k - 1) // 2
            inside = ((index >= 0) & (index < size[axis])).view(-1, *[1] * (rank - 1 - axis))
            shifted = shifted.index_select(2 + axis, index.clamp(0, size[axis] - 1)) * inside
        for axis, r in enumerate(scale):
            shifted = shifted.repeat_interleave(r, 2 + axis)
        expected += kernel[:, group][(slice(None), slice(None), *taps)] * shifted
    torch.testing.assert_close(y, expected)
    queries = torch.randn_like(y)
    products = local_products(queries, x, 3, window, scale=scale, interleaved=interleaved)
    torch.testing.assert_close((products * kernel).sum(), (queries * y).sum())


def test_refused():
    (x, kernel, _), _ = case((2, 2), False)
    with pytest.raises(ValueError, match=r"kernel: expected Ho = 15 for H = 5, window 3, stride 1, scale 3 .*got 10"):
        involution2d(x, kernel, scale=3)
    with pytest.raises(ValueError, match="scale: expected an int or a pair, each at least 1, got 0"):
        involution2d(x, kernel, scale=0)
    with pytest.raises(RuntimeError, match="kernel: expected"):
        ops.involution2d_grad_x(x, kernel, [5, 7], [1, 1], [1, 1], [1, 1])
