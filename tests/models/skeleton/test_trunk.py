"""The bottleneck with stochastic depth, in every form that computes it."""

import copy

import pytest
import torch
from torch import nn

from involution.models.skeleton.trunk import Bottleneck
from involution.ops.fused import eager, norm

KEEP = 0.5


def bottleneck():
    torch.manual_seed(0)
    layers = (nn.Conv2d(8, 8, 3, padding=1), None, 1 - KEEP, nn.BatchNorm2d, nn.ReLU)
    return Bottleneck(32, 8, 32, *layers)


def images():
    return torch.randn(8, 32, 5, 6).contiguous(memory_format=torch.channels_last)


def step(block, x):
    """Return the output, its gradients and the running statistics, with the paths that seed 1 drops."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    y = block(x)
    y.square().sum().backward()
    return [y, x.grad, *(p.grad for p in block.parameters()), *block.buffers()]


def test_images_keep_the_shortcut_alone_or_a_scaled_residual():
    block, x = bottleneck(), images()
    always = copy.deepcopy(block)
    always.drop_path, always.act3 = nn.Identity(), nn.Identity()
    residual = always(x) - x
    torch.manual_seed(1)
    y = block(x)
    kept = [not torch.equal(out, image.relu()) for out, image in zip(y, x, strict=True)]
    assert 0 < sum(kept) < len(x)
    expected = (x + residual / KEEP * torch.tensor(kept)[:, None, None, None]).relu()
    torch.testing.assert_close(y, expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_forms_are_equal(monkeypatch):
    x = images()
    expected = step(bottleneck(), x.contiguous())  # the modules, one after the other
    calls = []
    operator = norm._op
    monkeypatch.setattr(norm, "_op", lambda *arguments: calls.append(1) or operator(*arguments))
    got = step(bottleneck(), x)
    assert len(calls) == (3 if eager._compiled else 0)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(step(torch.jit.script(bottleneck()), x), expected, rtol=1e-3, atol=1e-3)
    assert len(calls) == (3 if eager._compiled else 0)
