"""The first convolution of a block with its shortcut, against the modules one after the other."""

import copy

import pytest
import torch
from torch import nn

from involution.layers.norm import NormActSequential
from involution.layers.shortcut import conv_shortcut
from involution.ops.fused import eager, pointwise


def image():
    torch.manual_seed(0)
    return torch.randn(2, 16, 7, 6).contiguous(memory_format=torch.channels_last)


def block(stride=2, **options):
    """Return a convolution and a projection."""
    torch.manual_seed(0)
    projection = nn.Conv2d(16, 48, **{"kernel_size": 1, "stride": stride, "bias": False, **options})
    return nn.Conv2d(16, 32, 1, bias=False), NormActSequential(projection, nn.BatchNorm2d(48))


def strided_again(modules, stride):
    modules[1][0].stride = stride
    return modules


def hooked(modules):
    modules[1].register_forward_hook(lambda module, inputs, y: 2 * y)
    return modules


CASES = {  # the modules, and the convolutions that are the operator
    "identity": (lambda: (block()[0], nn.Identity()), 1),
    "projection": (lambda: block(1), 2),
    "strided projection": (block, 2),
    "stride of 3": (lambda: block(3), 2),
    "a number in place of the stride": (lambda: strided_again(block(), 3), 1),
    "two strides": (lambda: block((1, 2)), 1),
    "window": (lambda: block(kernel_size=3, padding=1), 1),
    "bias": (lambda: block(bias=True), 1),
    "hook": (lambda: hooked(block()), 1),
    "another module": (lambda: (block()[0], nn.Sequential(*block()[1])), 1),
    "empty": (lambda: (block()[0], NormActSequential()), 1),
    "convolution with bias": (lambda: (nn.Conv2d(16, 32, 1), block()[1]), 0),
}


@pytest.mark.skipif(not eager._compiled, reason="without the C++ extension, the modules run")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_the_modules(case, training, monkeypatch):
    make, expected_calls = CASES[case]
    modules = nn.ModuleList(make()).train(training)
    plain = copy.deepcopy(modules).double()
    calls, operator = [], pointwise._op
    monkeypatch.setattr(pointwise, "_op", lambda *args: calls.append(1) or operator(*args))
    x, exact = image().requires_grad_(), image().double().requires_grad_()
    outputs, expected = conv_shortcut(*modules, x), [module(exact) for module in plain]
    if training:
        assert len(calls) == expected_calls
    for (got, true), seed in zip(zip(outputs, expected, strict=True), (1, 2), strict=True):
        torch.testing.assert_close(got.double(), true, rtol=1e-5, atol=1e-5)
        torch.manual_seed(seed)
        (true * torch.randn_like(true)).sum().backward(retain_graph=True)
        torch.manual_seed(seed)
        (got * torch.randn_like(true).float()).sum().backward(retain_graph=True)
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-4, atol=1e-4)
    for got, true in zip(modules.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got.grad.double(), true.grad, rtol=1e-4, atol=1e-3)
    for got, true in zip(modules.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(got.double(), true.double(), rtol=1e-5, atol=1e-5)
