"""The 1x1 convolution of training as one operator, against PyTorch's convolution in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from involution.layers.conv import conv
from involution.layers.norm import NormActSequential
from involution.ops.fused import eager, pointwise
from involution.ops.fused.pointwise import pointwise_conv


def drawn(inputs, outputs, size):
    """Return a map, a weight and a gradient of the output."""
    torch.manual_seed(inputs + outputs)
    x, grad = (
        torch.randn(size[0], c, *size[1:]).contiguous(memory_format=torch.channels_last) for c in (inputs, outputs)
    )
    return x, torch.randn(outputs, inputs, 1, 1), grad


def near(got, expected, tolerance=2e-6):
    return (got.double() - expected).abs().max() <= tolerance * expected.abs().max()


SHAPES = [
    (16, 16, (1, 1, 1)),
    (16, 48, (2, 3, 5)),  # half a panel of columns
    (48, 16, (1, 13, 11)),
    (64, 80, (3, 7, 6)),  # 126 pixels: whole tiles
    (32, 64, (2, 29, 31)),
    (272, 528, (1, 9, 15)),  # parts of 256 channels and a rest, on either side
    (512, 512, (2, 8, 9)),  # a weight that does not stay in cache
    (16, 64, (1, 257, 256)),  # an output that no cache holds
    (64, 16, (1, 257, 256)),  # such a gradient of the input
]


@pytest.mark.parametrize(("inputs", "outputs", "size"), SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_output_and_gradients_are_those_of_the_convolution(inputs, outputs, size, threads):
    x, weight, grad = drawn(inputs, outputs, size)
    weight = weight.contiguous(memory_format=torch.channels_last) if threads > 1 else weight
    leaves = [value.clone().requires_grad_() for value in (x, weight)]
    exact = [value.double().requires_grad_() for value in (x, weight)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y, _ = pointwise_conv(*leaves)
        got = torch.autograd.grad(y, leaves, grad)
    finally:
        torch.set_num_threads(before)
    expected = F.conv2d(*exact)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert near(y, expected)
    for value, true in zip(got, torch.autograd.grad(expected, exact, grad.double()), strict=True):
        assert near(value, true)
    assert got[0].is_contiguous(memory_format=torch.channels_last)
    assert got[1].stride() == weight.stride()  # else autograd copies it


def test_an_empty_batch():
    x, weight, grad = drawn(16, 32, (0, 4, 5))
    leaves = [value.requires_grad_() for value in (x, weight)]
    y, _ = pointwise_conv(*leaves)
    for_x, for_weight = torch.autograd.grad(y, leaves, grad)
    assert y.shape == (0, 32, 4, 5) and for_x.shape == x.shape
    assert torch.equal(for_weight, torch.zeros(32, 16, 1, 1))


def test_sums_over_many_pixels_are_as_exact_as_those_over_few():
    x, weight, grad = drawn(16, 32, (2, 150, 160))
    exact = torch.einsum("bnhw, bkhw -> nk", grad.double(), x.double())[..., None, None]
    (got,) = torch.autograd.grad(pointwise_conv(x, weight.requires_grad_())[0], weight, grad)
    assert near(got, exact)


def test_an_input_without_gradient_has_a_shortcut_without():
    x, weight, _ = drawn(16, 16, (1, 2, 2))
    assert [y.requires_grad for y in pointwise_conv(x, weight.requires_grad_())] == [True, False]
    assert [y.requires_grad for y in pointwise_conv(x.requires_grad_(), weight.detach())] == [True, True]


@pytest.mark.parametrize("wanted", [0, 1])
def test_only_the_requested_gradient_is_computed(wanted, monkeypatch):
    x, weight, grad = drawn(16, 32, (2, 4, 5))
    leaves, masks, operator = [x, weight], [], pointwise._op_backward
    leaves[wanted].requires_grad_()
    monkeypatch.setattr(pointwise, "_op_backward", lambda *args: masks.append(list(args[-1])) or operator(*args))
    (got,) = torch.autograd.grad(pointwise_conv(*leaves)[0], leaves[wanted], grad)
    assert near(got, torch.autograd.grad(F.conv2d(x, weight), leaves[wanted], grad)[0])
    assert masks == [[wanted == 0, wanted == 1]]


def test_registration_and_reference():
    x, weight, grad = drawn(16, 32, (2, 3, 3))
    ops, checks = torch.ops.involution, ("test_schema", "test_faketensor")
    torch.library.opcheck(ops.pointwise_conv.default, (x, weight), test_utils=checks)
    torch.testing.assert_close(pointwise._reference(x, weight), ops.pointwise_conv(x, weight))
    shortcut = x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)
    for mask in ([True, True], [True, False], [False, True]):
        arguments = (grad, x, weight, shortcut if mask[0] else None, 2, mask)
        torch.library.opcheck(ops.pointwise_conv_backward.default, arguments, test_utils=checks)
        got, expected = pointwise._reference_backward(*arguments), ops.pointwise_conv_backward(*arguments)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def formula(x, weight, stride=1):
    return F.conv2d(x, weight), x[:, :, ::stride, ::stride]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(2, 3, 5), (3, 7, 6), (1, 1, 1), (1, 257, 256)])
def test_the_gradient_of_a_shortcut_is_added(size, stride):
    x, weight, grad = drawn(64, 80, size)
    leaves, exact = ([value.to(dtype).requires_grad_() for value in (x, weight)] for dtype in (None, torch.float64))
    outputs = pointwise_conv(*leaves, stride)
    assert torch.equal(outputs[1], formula(x, weight, stride)[1])
    shortcut = outputs[1].detach().flip(1)

    def grads(outputs, inputs, shortcut):
        y, same = outputs
        return torch.autograd.grad([y, same], inputs, [grad.to(y), shortcut.to(y)], retain_graph=True)

    for given in (shortcut, shortcut.contiguous()):  # of either memory format
        expected = grads(formula(*exact, stride), exact, given)
        for got, true in zip(grads(outputs, leaves, given), expected, strict=True):
            assert near(got, true)
    (alone,) = torch.autograd.grad(outputs[1], leaves[0], shortcut)
    (true,) = torch.autograd.grad(formula(*exact, stride)[1], exact[0], shortcut.double())
    assert torch.equal(alone.double(), true)


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivative(stride):
    x, weight, _ = drawn(16, 16, (2, 3, 2))
    leaves, exact = ([value.to(dtype).requires_grad_() for value in (x, weight)] for dtype in (None, torch.float64))

    def penalty(outputs, inputs):
        y, same = outputs
        (grad,) = torch.autograd.grad(y.square().sum() + same.pow(3).sum(), inputs[0], create_graph=True)
        return torch.autograd.grad(grad.square().sum(), inputs)

    expected = penalty(formula(*exact, stride), exact)
    for a, b in zip(penalty(pointwise_conv(*leaves, stride), leaves), expected, strict=True):
        assert near(a, b, 1e-5)


@pytest.mark.skipif(not eager._compiled, reason="the checks of the C++ extension")
@pytest.mark.parametrize(
    ("stride", "message"), [(0, "shortcut_stride: expected at least 1, got 0"), (2, "grad_shortcut: expected .* 2, 3")]
)
def test_the_gradient_of_a_shortcut_is_checked(stride, message):
    x, weight, grad = drawn(16, 32, (1, 4, 5))
    with pytest.raises(RuntimeError, match=message):
        torch.ops.involution.pointwise_conv_backward(grad, x, weight, x, stride, [True, True])


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (torch.ones(1, 16, 2, 2), torch.ones(8, 16, 1, 1), r"weight: expected \[N, K, 1, 1\] with positive multiples"),
        (torch.ones(1, 16, 2, 2), torch.ones(0, 16, 1, 1), r"weight: expected \[N, K, 1, 1\] with positive multiples"),
        (torch.ones(1, 32, 2, 2), torch.ones(16, 16, 1, 1), r"weight: expected float32 of shape \[16, 32, 1, 1\]"),
        (torch.ones(1, 16, 2, 2), torch.ones(16, 16, 1, 1), "x: expected channels-last memory"),
        (torch.ones(16, 2, 2), torch.ones(16, 16, 1, 1), "x: expected 4 dimensions"),
    ],
)
@pytest.mark.skipif(not eager._compiled, reason="the checks of the C++ extension")
def test_the_operator_checks_its_arguments(x, weight, message):
    if "memory" not in message and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.involution.pointwise_conv(x, weight)


def counted(monkeypatch):
    """Return a list that gets an item per call of the operator."""
    calls, operator = [], pointwise._op
    monkeypatch.setattr(pointwise, "_op", lambda *args: calls.append(1) or operator(*args))
    return calls


def image(channels=16):
    torch.manual_seed(0)
    return torch.randn(2, channels, 6, 7).contiguous(memory_format=torch.channels_last)


def layer(**options):
    torch.manual_seed(0)
    return nn.Conv2d(**{"in_channels": 16, "out_channels": 32, "kernel_size": 1, "bias": False, **options})


@pytest.mark.skipif(not eager._compiled, reason="without the C++ extension, the module runs")
@pytest.mark.parametrize("padding", [0, "same", "valid"])
def test_a_plain_convolution_is_the_operator(padding, monkeypatch):
    module, calls = layer(padding=padding), counted(monkeypatch)
    torch.testing.assert_close(conv(module, image()), module(image()))
    NormActSequential(module, nn.ReLU())(image())
    assert len(calls) == 2


def _replaced(module, weight):
    module.weight = nn.Parameter(weight)
    return module


def _hooked(module):
    module.register_forward_hook(lambda *_: None)
    return module


def _dual(module, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(conv(module, forward_ad.make_dual(x, x))).primal


def _autocast(module, x):
    with torch.autocast("cpu", torch.bfloat16):
        return conv(module, x)


CASES = {
    "no gradient": lambda x: torch.no_grad()(conv)(layer(), x),
    "NCHW": lambda x: conv(layer(), x.contiguous()),
    "float64": lambda x: conv(layer().double(), x.double()),
    "bias": lambda x: conv(layer(bias=True), x),
    "stride": lambda x: conv(layer(stride=2), x),
    "padding": lambda x: conv(layer(padding=1), x),
    "window": lambda x: conv(layer(kernel_size=3), x),
    "groups": lambda x: conv(layer(groups=2), x),
    "channels": lambda x: conv(layer(out_channels=24), x),
    "24 channels in a new weight": lambda x: conv(_replaced(layer(), torch.ones(24, 16, 1, 1)), x),
    "window of a new weight": lambda x: conv(_replaced(layer(), torch.ones(32, 16, 3, 3)), x),
    "transposed weight": lambda x: conv(_replaced(layer(), torch.ones(16, 32, 1, 1).transpose(0, 1)), x),
    "hook": lambda x: conv(_hooked(layer()), x),
    "weight norm": lambda x: conv(nn.utils.parametrizations.weight_norm(layer()), x),
    "another module": lambda x: conv(nn.Identity(), x),
    "unbatched": lambda x: conv(layer(), x[0]),
    "forward mode": lambda x: _dual(layer(), x),
    "autocast": lambda x: _autocast(layer(), x),
    "compiler": lambda x: torch.compile(conv, backend="eager", fullgraph=True)(layer(), x),
    "vmap": lambda x: torch.func.vmap(lambda x: conv(layer(), x), randomness="same")(x[None]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_module_runs_where_the_operator_does_not_serve(case, monkeypatch):
    calls = counted(monkeypatch)
    CASES[case](image())
    assert not calls


def test_wrong_channels_raise_the_error_of_the_module():
    with pytest.raises(RuntimeError, match="expected input"):
        conv(layer(), image(32))
    with pytest.raises(RuntimeError, match="expected weight to be at least 1"):
        conv(_replaced(layer(), torch.ones(0, 16, 1, 1)), image())


def test_weights_of_a_copy_are_its_own():
    module = layer()
    other = copy.deepcopy(module)
    conv(other, image()).sum().backward()
    assert module.weight.grad is None and other.weight.grad is not None
