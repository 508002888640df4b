"""Changes of the span affect the layer, `involution2d(x, layer.kernel(x))`; only an unchanged span is fused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from involution import Involution1d, Involution2d, Involution3d, involution2d


class Adapter(nn.Module):
    """A low-rank adapter around a convolution."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.down = nn.Conv2d(base.in_channels, 2, 1)
        self.up = nn.Conv2d(2, base.out_channels, 1)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def adapt(layer):
    layer.conv2.conv = Adapter(layer.conv2.conv)


def offload(layer):
    conv = layer.conv2.conv
    original = conv.forward
    conv.forward = lambda x: original(x) / 2


CHANGES = {
    "pruned": lambda layer: prune.l1_unstructured(layer.conv2.conv, "weight", 0.5),
    "parametrized": lambda layer: parametrizations.weight_norm(layer.conv2.conv),
    "adapter": adapt,
    "forward replaced": offload,
    "hook": lambda layer: layer.conv2.conv.register_forward_hook(lambda module, inputs, taps: 2 * taps),
    "hook of the span": lambda layer: layer.conv2.register_forward_hook(lambda module, inputs, taps: taps + 1),
    "pre-hook": lambda layer: layer.conv2.conv.register_forward_pre_hook(lambda module, inputs: (3 * inputs[0],)),
    "more modules": lambda layer: layer.conv2.append(nn.Tanh()),
    "span replaced": lambda layer: setattr(layer, "conv2", nn.Sequential(layer.conv2, nn.Tanh())),
}


class Normalized(Involution2d):
    """Kernels that add up to one."""

    def kernel(self, x):
        return super().kernel(x).flatten(2, 3).softmax(2).unflatten(2, self.kernel_size)


def test_a_kernel_of_a_subclass_is_used():
    layer, x = Normalized(32, 3), torch.randn(2, 32, 7, 6)
    torch.testing.assert_close(layer(x), involution2d(x, layer.kernel(x)))
    inside = layer(torch.ones(1, 32, 7, 6))[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.ones_like(inside))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_span_is_called(change):
    plain, x = Involution2d(32, 3, 2).eval(), torch.randn(2, 32, 7, 6)
    layer = copy.deepcopy(plain)
    change(layer)
    assert plain.fused and not layer.fused
    for _ in range(2):  # pruning failed in the second backward
        y = layer(x)
        torch.testing.assert_close(y, involution2d(x, layer.kernel(x), layer.stride, "same", layer.dilation))
        y.sum().backward()
    assert change is CHANGES["parametrized"] or not torch.allclose(y, plain(x), atol=1e-3)
    torch.compiler.reset()  # every case recompiles the same code
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), y)


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated")
def test_scripts_and_traces_what_the_layer_is():
    layer, x = Involution2d(32, 3, 2).eval(), torch.randn(2, 32, 7, 6)
    scripted = torch.jit.script(layer)
    assert "involution2d_spanned" in scripted._aggregate.code
    torch.testing.assert_close(scripted(x), layer(x))
    torch.testing.assert_close(torch.jit.trace(layer, x)(x), layer(x))
    adapt(layer)
    torch.testing.assert_close(torch.jit.script(layer)(x), layer(x))


def test_torch_fx_sees_one_node_that_is_checked():
    layer, x = Involution2d(32, 3, 2).eval(), torch.randn(2, 32, 7, 6)
    traced = torch.fx.symbolic_trace(layer)
    assert [n.target.__name__ for n in traced.graph.nodes if n.op == "call_function"] == ["spanned_involution"]
    torch.testing.assert_close(traced(x), layer(x))


@pytest.mark.parametrize("layer", [Involution1d(32, 3, 2), Involution2d(32, 3, 2), Involution3d(32, 3, 2)])
def test_every_dimension_is_fused_and_takes_an_image_without_batch(layer):
    layer = layer.double().eval()
    x = torch.randn(2, 32, *[5, 4, 3][: layer.rank], dtype=torch.float64)
    assert layer.fused
    torch.testing.assert_close(layer(x), layer.operator(x, layer.kernel(x), 2))
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


def test_a_causal_layer_sees_no_later_position():
    layer, x = Involution1d(32, 3, dilation=2, padding=[(4, 0)]).eval(), torch.randn(1, 32, 9)
    later = x.clone()
    later[..., 5:] += 1
    assert torch.equal(layer(later)[..., :5], layer(x)[..., :5])
    assert not torch.equal(layer(later)[..., 5:], layer(x)[..., 5:])
    with pytest.raises(ValueError, match=r"padding: expected zeros that keep the size, \[4\] in all per axis, got 1"):
        Involution1d(32, 3, dilation=2, padding=1)


def test_a_norm_is_called_with_the_channels_alone():
    calls = []

    def norm(*args, **kwargs):
        calls.append((args, kwargs))
        return nn.BatchNorm2d(*args)

    layer = Involution2d(32, norm_layer=norm, dtype=torch.float64)
    assert calls == [((8,), {})]
    assert layer.conv1.bn.weight.dtype == torch.float64
    with pytest.raises(ValueError, match="norm_layer: expected \"batch_norm\", a callable or None, got 'layer'"):
        Involution2d(32, norm_layer="layer")
