"""The batch norm of training with its shortcut and ReLU, as one operator, against the formula in float64."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from involution.layers.norm import NormActSequential, norm_act
from involution.ops.fused import eager, norm
from involution.ops.fused.norm import batch_norm, composition


def drawn(channels, size, shortcut):
    """Return the arguments, maps away from zero mean, and a gradient; no output is near 0, where ReLU has a jump."""
    torch.manual_seed(channels)
    while True:
        x, other, grad = (
            (torch.randn(size[0], channels, *size[1:]) * 3 + 5).contiguous(memory_format=torch.channels_last)
            for _ in range(3)
        )
        values = [x, other if shortcut else None, torch.randn(channels), torch.randn(channels)]
        if (composition(*values, 1e-5, False).abs() > 1e-5).all():
            return values, grad


def gradients(y, values, grad):
    return torch.autograd.grad(y, [value for value in values if value is not None], grad)


def near(got, expected, tolerance=2e-5):
    return (got.double() - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize(("relu", "shortcut"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(
    ("channels", "size"),
    [
        (1, (3, 5, 7)),
        (3, (2, 8, 8)),
        (8, (4, 9, 9)),
        (16, (2, 4, 4)),
        (20, (2, 16, 1)),
        (64, (2, 17, 40)),
        (130, (2, 3, 5)),
    ],
)
def test_output_statistics_and_gradients_are_those_of_the_formula(channels, size, relu, shortcut):
    values, grad = drawn(channels, size, shortcut)
    leaves = [None if value is None else value.clone().requires_grad_() for value in values]
    exact = [None if value is None else value.double().requires_grad_() for value in values]
    y, mean, var = batch_norm(*leaves, 1e-5, relu)
    expected = composition(*exact, 1e-5, relu)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert near(y, expected)
    expected_var, expected_mean = torch.var_mean(exact[0], (0, 2, 3), correction=0)
    assert near(mean, expected_mean) and near(var, expected_var)
    for got, true in zip(gradients(y, leaves, grad), gradients(expected, exact, grad.double()), strict=True):
        assert near(got, true, 1e-4)


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("channels", [48, 52])  # of which whole registers consist, or not
def test_a_map_that_no_cache_holds(channels, shortcut):
    torch.manual_seed(0)
    x, other, grad = (
        torch.randn(1, channels, 300, 300).contiguous(memory_format=torch.channels_last) for _ in range(3)
    )
    bias = torch.full((channels,), 30.0)
    bias[::2] = -30  # far from 0, where ReLU has a jump
    values = [x, other if shortcut else None, torch.ones(channels), bias]
    leaves, exact = (
        [None if value is None else value.to(dtype).requires_grad_() for value in values]
        for dtype in (None, torch.float64)
    )
    y, expected = batch_norm(*leaves, 1e-5, True)[0], composition(*exact, 1e-5, True)
    assert near(y, expected)
    for got, true in zip(gradients(y, leaves, grad), gradients(expected, exact, grad.double()), strict=True):
        assert near(got, true, 1e-4)


def test_registration():
    values, grad = drawn(4, (2, 3, 3), True)
    ops = torch.ops.involution
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(ops.batch_norm.default, (*values, 1e-5, True), test_utils=checks)
    y, mean, var = ops.batch_norm(*values, 1e-5, True)
    x, _, weight, bias = values
    torch.library.opcheck(
        ops.batch_norm_backward.default, (grad, x, y, weight, bias, mean, var, 1e-5, True), test_utils=checks
    )


@pytest.mark.parametrize(("relu", "shortcut"), [(False, False), (True, False), (True, True)])
def test_reference_of_the_operators(relu, shortcut):
    """Devices without an implementation run it."""
    values, grad = drawn(24, (2, 5, 6), shortcut)
    x, _, weight, bias = values
    expected = torch.ops.involution.batch_norm(*values, 1e-5, relu)
    got = norm._reference(*values, 1e-5, relu)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    y, mean, var = expected
    rest = (grad, x, y if shortcut else None, weight, bias, mean, var, 1e-5, relu)
    for a, b in zip(norm._reference_backward(*rest), torch.ops.involution.batch_norm_backward(*rest), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_second_derivative():
    values, _ = drawn(5, (2, 4, 3), True)
    leaves = [value.requires_grad_() for value in values]
    exact = [value.detach().double().requires_grad_() for value in values]

    def penalty(y, inputs):
        (grad,) = torch.autograd.grad(y.square().sum(), inputs[0], create_graph=True)
        return torch.autograd.grad(grad.square().sum(), inputs)

    got = penalty(batch_norm(*leaves, 1e-5, True)[0], leaves)
    for a, b in zip(got, penalty(composition(*exact, 1e-5, True), exact), strict=True):
        assert near(a, b, 1e-4)


def test_the_shortcut_alone_has_a_second_derivative():
    values, _ = drawn(5, (2, 4, 3), True)
    values[1].requires_grad_()
    y = batch_norm(*values, 1e-5, True)[0]
    (grad,) = torch.autograd.grad(y.square().sum(), values[1], create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), values[1])
    torch.testing.assert_close(grad, 2 * y)
    torch.testing.assert_close(second, 2 * (y > 0).float())


def test_a_shortcut_is_not_kept_for_the_backward():
    values, _ = drawn(5, (2, 4, 3), True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.data_ptr()) or tensor, lambda t: t):
        batch_norm(values[0].requires_grad_(), *values[1:], 1e-5, True)
    assert values[0].data_ptr() in kept and values[1].data_ptr() not in kept


def test_nan_stays():
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    x[0, 1, 2, 3] = float("nan")
    weight, bias = torch.ones(3, requires_grad=True), torch.zeros(3)
    y, mean, var = batch_norm(x, None, weight, bias, 1e-5, True)
    assert y[:, 1].isnan().all() and mean[1].isnan() and var[1].isnan()
    assert not y[:, [0, 2]].isnan().any()
    y.sum().backward()
    assert weight.grad.isnan().tolist() == [False, True, False]


def test_sums_do_not_depend_on_the_number_of_threads():
    values, grad = drawn(16, (4, 30, 31), True)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            leaves = [value.clone().requires_grad_() for value in values]
            y, *_ = batch_norm(*leaves, 1e-5, True)
            found.append([y, *gradients(y, leaves, grad)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def layers(channels=16):
    torch.manual_seed(0)
    return NormActSequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def counted(monkeypatch):
    """Return a list that gets an item per call of the operator."""
    calls = []
    operator = norm._op
    monkeypatch.setattr(norm, "_op", lambda *args: calls.append(1) or operator(*args))
    return calls


def image(channels=16):
    return torch.randn(2, channels, 6, 7).contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not eager._compiled, reason="without the C++ extension, the modules run")
def test_training_updates_the_running_statistics(monkeypatch):
    fused, plain, x = layers(), nn.Sequential(*layers()), image()
    calls = counted(monkeypatch)
    torch.testing.assert_close(fused(x), plain(x))
    assert len(calls) == 1
    for got, expected in zip(fused.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(got, expected)


def test_a_call_of_the_module_before_that_of_the_operator_keeps_its_backward():
    """PyTorch's batch norm saves the running statistics, which the operator changes."""
    module, x = layers(), image().requires_grad_()
    (module(x.contiguous()).sum() + module(x).sum()).backward()
    (module.eval()(x).sum() + module.train()(x).sum()).backward()
    assert x.grad.isfinite().all()


CASES = {
    "eval": lambda module, x: module.eval()(x),
    "no gradient": lambda module, x: torch.no_grad()(module)(x),
    "NCHW": lambda module, x: module(x.contiguous()),
    "float64": lambda module, x: module.double()(x.double()),
    "cumulative average": lambda module, x: _set(module, momentum=None)(x),
    "no running statistics": lambda module, x: _set(module, running_mean=None, running_var=None)(x),
    "hook": lambda module, x: _hooked(module)(x),
    "forward mode": lambda module, x: _dual(module, x),
    "trace": lambda module, x: torch.jit.trace(module, x, check_trace=False)(x),
    "script": lambda module, x: torch.jit.script(module)(x),
    "compiler": lambda module, x: torch.compile(module, backend="eager", fullgraph=True)(x),
}


def _set(module, **values):
    for name, value in values.items():
        setattr(module[1], name, value)
    return module


def _dual(module, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(module(forward_ad.make_dual(x, x))).primal


def _hooked(module):
    module[2].register_forward_hook(lambda *_: None)
    return module


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("case", CASES)
def test_modules_run_where_the_operator_does_not_serve(case, monkeypatch):
    fused, plain, x = layers(), nn.Sequential(*layers()), image()
    calls = counted(monkeypatch)
    torch.testing.assert_close(CASES[case](fused, x), CASES[case](plain, x))
    assert not calls


def test_a_single_pixel_raises_the_error_of_the_module():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_act(torch.randn(1, 4, 1, 1), nn.BatchNorm2d(4), nn.ReLU())
