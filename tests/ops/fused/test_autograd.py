"""The operators of a training step inside autograd, against their formulas."""

import pytest
import torch
from torch.nn import functional as F

from involution.ops.fused.norm import batch_norm, composition
from involution.ops.fused.pointwise import pointwise_conv

OPERATORS = {
    "1x1 convolution": (
        lambda x, shortcut, weight, bias: pointwise_conv(x, weight),
        lambda x, shortcut, weight, bias: (F.conv2d(x, weight), x),
    ),
    "1x1 convolution and strided shortcut": (
        lambda x, shortcut, weight, bias: pointwise_conv(x, weight, 2),
        lambda x, shortcut, weight, bias: (F.conv2d(x, weight), x[:, :, ::2, ::2]),
    ),
    "norm": (
        lambda x, shortcut, weight, bias: batch_norm(x, None, bias + 2, bias, 1e-5, True)[:1],
        lambda x, shortcut, weight, bias: (composition(x, None, bias + 2, bias, 1e-5, True),),
    ),
    "norm and shortcut": (
        lambda x, shortcut, weight, bias: batch_norm(x, shortcut, bias + 2, bias, 1e-5, True)[:1],
        lambda x, shortcut, weight, bias: (composition(x, shortcut, bias + 2, bias, 1e-5, True),),
    ),
}


def drawn():
    torch.manual_seed(0)
    maps = [torch.randn(2, 16, 4, 5).contiguous(memory_format=torch.channels_last) for _ in range(2)]
    return [value.requires_grad_() for value in (*maps, torch.randn(16, 16, 1, 1), torch.rand(16))]


def gradients(outputs, inputs, **options):
    loss = sum(y.square().sum() for y in outputs)
    return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True, **options)


def hooked_twice(run):
    """Return first and second derivatives, with hooks that change gradients."""
    inputs = drawn()
    values = [value * 1 for value in inputs]
    for value in values:
        value.register_hook(lambda grad: 3 * grad)
    first = gradients(run(*values), inputs, create_graph=True)
    return *first, *gradients(first, inputs)


def packed(run):
    """Return gradients, with hooks that unpack saved tensors in NCHW memory."""
    inputs = drawn()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().contiguous(), lambda t: t.clone()):
        outputs = run(*inputs)
    return gradients(outputs, inputs)


def batched(run):
    """Return the gradients of three losses."""
    inputs = drawn()
    outputs = run(*inputs)
    grads = [torch.stack([y.detach(), y.detach().cos(), y.detach().sin()]) for y in outputs]
    found = torch.autograd.grad(outputs, inputs, grads, is_grads_batched=True, allow_unused=True)
    return [value for value in found if value is not None]


@pytest.mark.parametrize("derive", [hooked_twice, packed, batched])
@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_are_those_of_the_formula(name, derive):
    got, expected = (derive(run) for run in OPERATORS[name])
    for value, true in zip(got, expected, strict=True):
        torch.testing.assert_close(value, true, rtol=1e-3, atol=1e-4 * max(1, true.abs().max().item()))
