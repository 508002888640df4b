"""Operators on CPU tensors, compiled or not, against the reference in float64."""

import multiprocessing
import os
import sys
import threading

import pytest
import torch
from benchmarks.correctness.drawn import draw, errors
from geometries import GEOMETRIES, Geometry, empty_batch
from torch.utils._python_dispatch import TorchDispatchMode

from involution.ops import reference, spanned

ops = torch.ops.involution

# Sums of at most some thousand terms; the half-width types round their inputs' products once, at the end.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def results(operators, t, geometry, groups=None):
    """All operators on the tensors `t`; `operators` maps a name to a function."""
    groups, window, arguments = geometry.groups, list(geometry.window), geometry.arguments
    span = (t["reduced"], t["weight"], t["bias"], groups, window, *arguments)
    backward = operators("involution2d_spanned_backward")(t["grad"], t["x"], *span)
    return {
        "y": operators("involution2d")(t["x"], t["kernel"], *arguments),
        "grad_x": operators("involution2d_grad_x")(t["grad"], t["kernel"], geometry.size, *arguments),
        "grad_kernel": operators("involution2d_grad_kernel")(t["grad"], t["x"], groups, window, *arguments),
        "spanned": operators("involution2d_spanned")(t["x"], *span),
        **{f"spanned grad {i}": grad for i, grad in enumerate(backward)},
    }


def dispatched(name):
    return getattr(ops, name)


def plain(name):
    return getattr(spanned if "spanned" in name else reference, name)


def poison(t):
    """Leave NaN in memory that the next results are likely to be allocated from."""
    for value in t.values():
        torch.full(value.shape, float("nan"), dtype=value.dtype)


def check(geometry, dtype, channels_last=False, change=lambda t: t):
    t = change(geometry.tensors(dtype, channels_last))
    poison(t)
    got = results(dispatched, t, geometry)
    wide = {name: value.double() for name, value in t.items()}
    for name, expected in results(plain, wide, geometry).items():
        value = got[name]
        assert value.dtype == dtype, name
        scale = expected.abs().max().clamp(min=1) if expected.numel() else 1
        error = (value.double() - expected).abs().max() / scale if expected.numel() else 0
        assert error <= TOLERANCE[dtype], f"{name}: {error:.2e}"
    return t, got


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_values(geometry, dtype, channels_last):
    check(geometry, dtype, channels_last)


def test_values_of_drawn_cases():
    for case in map(draw, range(40)):
        assert max(errors(case).values()) <= 1, case


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
def test_memory_format_in_is_memory_format_out(channels_last):
    _, got = check(Geometry(), torch.float32, channels_last)
    for name in ("y", "grad_x", "spanned", "spanned grad 0", "spanned grad 1"):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert got[name].is_contiguous(memory_format=layout), name
    assert got["grad_kernel"].flatten(1, 3).is_contiguous(memory_format=layout)


def test_any_strides():
    def sliced(t):
        wide = {name: torch.randn([n + 2 for n in value.shape]) for name, value in t.items()}
        for name, value in t.items():
            wide[name][tuple(slice(1, n + 1) for n in value.shape)] = value
        return {name: wide[name][tuple(slice(1, n + 1) for n in value.shape)] for name, value in t.items()}

    def turned(t):
        return {name: value.mT.contiguous().mT if value.dim() > 1 else value for name, value in t.items()}

    def expanded(t):
        return {**t, "grad": t["grad"][:1, :1, :1, :1].expand_as(t["grad"]), "x": t["x"][:1].expand_as(t["x"])}

    for change in (sliced, turned, expanded):
        check(GEOMETRIES["stride 2, odd"], torch.float32, change=change)
        check(GEOMETRIES["4 channels a group"], torch.float32, channels_last=True, change=change)


def test_empty_batch():
    t, got = check(empty_batch(), torch.float32)
    assert got["y"].shape == t["grad"].shape
    assert not got["spanned grad 2"].any()


def test_a_span_without_bias():
    geometry = GEOMETRIES["same 7x7"]
    t = geometry.tensors()
    span = (t["reduced"], t["weight"], None, geometry.groups, list(geometry.window), *geometry.arguments)
    torch.testing.assert_close(ops.involution2d_spanned(t["x"], *span), spanned.involution2d_spanned(t["x"], *span))
    assert ops.involution2d_spanned_backward(t["grad"], t["x"], *span)[3].shape == (0,)


@pytest.mark.parametrize("mask", [[bool(i & 1 << k) for k in range(4)] for i in range(16)], ids=str)
def test_gradients_of_the_spanned_form_that_are_not_wanted_have_no_elements(mask):
    geometry = GEOMETRIES["stride 2, even"]
    t = geometry.tensors(torch.float32)
    span = (t["reduced"], t["weight"], t["bias"], geometry.groups, list(geometry.window), *geometry.arguments)
    every = ops.involution2d_spanned_backward(t["grad"], t["x"], *span)
    grads = ops.involution2d_spanned_backward(t["grad"], t["x"], *span, mask)
    plainly = spanned.involution2d_spanned_backward(t["grad"], t["x"], *span, mask)
    for wanted, grad, full, expected in zip(mask, grads, every, plainly, strict=True):
        assert grad.shape == expected.shape == (full.shape if wanted else (0,))
        if wanted:
            torch.testing.assert_close(grad, full)


@pytest.mark.parametrize("frozen", [("x",), ("weight", "bias"), ("reduced", "weight", "bias"), ("bias",)], ids=str)
def test_frozen_inputs_of_the_spanned_form_cost_no_gradient(frozen):
    geometry = GEOMETRIES["stride 2, even"]
    t = geometry.tensors(torch.float64)
    leaves = [t[name].requires_grad_(name not in frozen) for name in ("x", "reduced", "weight", "bias")]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    numbers = (geometry.groups, list(geometry.window), *geometry.arguments)
    masks = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "spanned_backward" in str(func):
                masks.append(list(args[-1]))
            return func(*args, **(kwargs or {}))

    y = ops.involution2d_spanned(*leaves, *numbers)
    with Watch():
        got = torch.autograd.grad(y, wanted, t["grad"])
    assert masks == [[leaf.requires_grad for leaf in leaves]]
    expected = torch.autograd.grad(spanned.involution2d_spanned(*leaves, *numbers), wanted, t["grad"])
    torch.testing.assert_close(got, expected)


def samples():
    """Arguments of every operator, with gradients."""
    geometry = Geometry(batch=2, groups=2, group_channels=2, height=4, width=3, window=(3, 2), stride=(2, 1))
    t = {name: value.requires_grad_() for name, value in geometry.tensors(reduced=2).items()}
    window, arguments = list(geometry.window), geometry.arguments
    span = (t["reduced"], t["weight"], t["bias"], geometry.groups, window, *arguments)
    return {
        "involution2d": (t["x"], t["kernel"], *arguments),
        "involution2d_grad_x": (t["grad"], t["kernel"], geometry.size, *arguments),
        "involution2d_grad_kernel": (t["grad"], t["x"], geometry.groups, window, *arguments),
        "involution2d_spanned": (t["x"], *span),
        "involution2d_spanned_backward": (t["grad"], t["x"], *span),
    }


@pytest.mark.slow
# opcheck looks at the gradients of copies that it made itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", samples())
def test_registration_and_derivatives(name):
    arguments, op = samples()[name], dispatched(name)
    torch.library.opcheck(op.default, arguments)
    assert torch.autograd.gradcheck(op, arguments)
    assert torch.autograd.gradgradcheck(op, arguments)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", ["involution2d", "involution2d_spanned"])
def test_compiles_without_graph_breaks(name, dynamic):
    def loss(*arguments):
        return dispatched(name)(*arguments).square().sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    arguments = samples()[name]
    inputs = [a for a in arguments if isinstance(a, torch.Tensor)]
    expected = torch.autograd.grad(loss(*arguments), inputs)
    torch.testing.assert_close(torch.autograd.grad(compiled(*arguments), inputs), expected)


def test_autocast_casts_as_for_a_convolution():
    t = Geometry().tensors(torch.float32)
    arguments = Geometry().arguments
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.involution2d(t["x"], t["kernel"].bfloat16(), *arguments).dtype == torch.bfloat16
        assert ops.involution2d(t["x"].double(), t["kernel"].double(), *arguments).dtype == torch.float64
    x = t["x"].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.involution2d(x, t["kernel"], *arguments)
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32


def test_multiply_adds_are_counted():
    from torch.utils.flop_counter import FlopCounterMode

    geometry = GEOMETRIES["same 7x7"]
    t = {name: value.requires_grad_() for name, value in geometry.tensors().items()}
    aggregation = geometry.batch * geometry.channels * 15 * 17 * 49
    span = geometry.batch * 15 * 17 * (geometry.groups * 49) * 5
    with FlopCounterMode(display=False) as forward:
        y = ops.involution2d(t["x"], t["kernel"], *geometry.arguments)
    with FlopCounterMode(display=False) as backward:
        y.sum().backward()
    with FlopCounterMode(display=False) as fused:
        ops.involution2d_spanned(
            t["x"], t["reduced"], t["weight"], t["bias"], geometry.groups, list(geometry.window), *geometry.arguments
        )
    assert forward.get_total_flops() == 2 * aggregation
    assert backward.get_total_flops() == 4 * aggregation
    assert fused.get_total_flops() == 2 * (aggregation + span)


def test_the_same_result_every_time_and_from_many_threads():
    geometry = GEOMETRIES["same 7x7"]
    t = geometry.tensors(torch.float32)
    expected = results(dispatched, t, geometry)
    failures = []

    def run():
        for _ in range(5):
            for name, value in results(dispatched, t, geometry).items():
                if not torch.equal(value, expected[name]):
                    failures.append(name)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


class Sums(torch.utils.data.Dataset):
    """Item i is the operator's result on tensors drawn from seed i."""

    def __len__(self):
        return 8

    def __getitem__(self, seed):
        x, kernel = (
            torch.randn(shape, generator=torch.manual_seed(seed)) for shape in ((1, 32, 9, 9), (1, 2, 3, 3, 9, 9))
        )
        return ops.involution2d(x, kernel, [1, 1], [1, 1], [1, 1])[0]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python >= 3.12 warns of threads
def test_in_the_workers_of_a_data_loader_forked_after_the_threads_have_started():
    results(dispatched, GEOMETRIES["same 7x7"].tensors(torch.float32), GEOMETRIES["same 7x7"])
    loader = torch.utils.data.DataLoader(Sums(), num_workers=2, multiprocessing_context="fork", timeout=60)
    for seed, got in enumerate(loader):
        assert torch.equal(got[0], Sums()[seed])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the free memory of Linux")
def test_more_than_two_to_the_31_elements():
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < 14 * 2**30:
        pytest.skip("needs 14 GiB of free memory")
    height = 2**31 // (16 * 1024) + 8  # x has 2^31 elements and a little more, in two bytes each
    x = torch.zeros(1, 16, height, 1024, dtype=torch.bfloat16)
    x[0, 3, -1, -1] = 2
    kernel = torch.ones(1, 1, 1, 1, 1, 1, dtype=torch.bfloat16).expand(1, 1, 1, 1, height, 1024)
    y = ops.involution2d(x, kernel, [1, 1], [0, 0], [1, 1])
    assert y[0, 3, -1, -1] == 2
    assert y[0, :, -2:].float().sum() == 2
