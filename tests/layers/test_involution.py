"""The layer: published values, kernels, sizes, channels, memory."""

import math

import pytest
import torch
from torch import nn

from involution import Involution1d, Involution2d, Involution3d, involution2d

OFFICIAL = [
    "conv1.conv.weight",
    *(f"conv1.bn.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    "conv2.conv.weight",
    "conv2.conv.bias",
]

# (C, K, stride, H, W), sum of y, y at three places, sums of the gradients of x, W0, W1 and b1; of the official module.
PUBLISHED = [
    (
        (32, 3, 1, 5, 6),
        (4.584305474900e01, -0.015977544020, 0.066053044971, -0.93182750953),
        (-19.107383027, 208.81548308, 8405.8681848, 1745.8745103),
    ),
    (
        (32, 7, 1, 8, 8),
        (1.075808865321e01, -0.12762052003, -0.033288734209, -0.38121763754),
        (-15.506573108, 88.954815348, 7431.9599298, 5352.0233172),
    ),
    (
        (64, 7, 2, 8, 6),
        (3.367830280993e00, -0.17680918477, -0.068263890977, 0.81700283631),
        (-0.52499810608, -29.300546004, 593.09820071, 332.90808417),
    ),
]


def fill(module):
    """Fill a state dict with the sines that the published values were made with."""
    for i, (name, value) in enumerate(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        wave = torch.sin(0.37 * torch.arange(value.numel(), dtype=torch.float64) + 0.11 * i).view(value.shape)
        if value.dim() > 1:
            wave *= math.sqrt(2 * value.shape[0] / value.numel())
        elif name.endswith("running_var") or (name.endswith("weight")):
            wave = 1 + 0.1 * wave
        else:
            wave = 0.1 * wave
        value.copy_(wave)
    return module


@pytest.mark.parametrize(("sizes", "outputs", "grads"), PUBLISHED)
def test_published_values(sizes, outputs, grads):
    channels, kernel_size, stride, height, width = sizes
    layer = fill(Involution2d(channels, kernel_size, stride, dtype=torch.float64)).eval()
    assert list(layer.state_dict()) == OFFICIAL
    n = torch.arange(channels * height * width, dtype=torch.float64)
    x = torch.sin(0.017 * n).view(1, channels, height, width).requires_grad_()
    y = layer(x)
    (y * torch.cos(0.013 * torch.arange(y.numel(), dtype=torch.float64)).view_as(y)).sum().backward()
    got = [y.sum(), y[0, 0, 0, 0], y[0, channels - 1, -1, -1], y[0, channels // 2, 1, 1]]
    torch.testing.assert_close(torch.stack(got), torch.tensor(outputs, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    parameters = [layer.conv1.conv.weight, layer.conv2.conv.weight, layer.conv2.conv.bias]
    got = torch.stack([x.grad.sum(), *(parameter.grad.sum() for parameter in parameters)])
    torch.testing.assert_close(got, torch.tensor(grads, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"kernel_size": (3, 5), "stride": (2, 1), "dilation": (1, 2)},
        {"kernel_size": 4},
        {"group_channels": 4},
        {"group_channels": 32, "reduction_ratio": None},
        {"norm_layer": None, "act_layer": nn.SiLU},
        {"norm_layer": lambda c, **factory: nn.GroupNorm(2, c, **factory)},
    ],
)
def test_the_layer_is_its_kernel_applied(options, channels_last):
    layer = Involution2d(32, **options).double()
    x = torch.randn(2, 32, 15, 13, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    y = layer(x)
    expected = involution2d(x, layer.eval().train().kernel(x), layer.stride, "same", layer.dilation)
    torch.testing.assert_close(y, expected)
    assert y.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_the_kernel_of_a_stride_is_made_from_the_pixels_that_exist():
    layer = Involution2d(32, 3, stride=2).eval()
    x = torch.randn(1, 32, 5, 7)
    last = layer(x)[..., -1, -1]
    corner = torch.cat([x, x[..., -1:]], 3)  # as if the last column were there twice: the same average
    corner = torch.cat([corner, corner[..., -1:, :]], 2)
    torch.testing.assert_close(layer.kernel(corner)[..., -1, -1], layer.kernel(x)[..., -1, -1])
    assert last.shape == (1, 32)


@pytest.mark.parametrize(
    ("layer", "size", "out"),
    [
        (Involution1d(32, 5, stride=2, out_channels=8), [9], [8, 5]),
        (Involution2d(32, 5, stride=2, out_channels=8), [9, 6], [8, 5, 3]),
        (Involution3d(32, 3, stride=2, out_channels=8), [5, 6, 7], [8, 3, 3, 4]),
    ],
)
def test_every_dimension_and_other_output_channels(layer, size, out):
    x = torch.randn(2, 32, *size, requires_grad=True)
    y = layer(x)
    assert list(y.shape) == [2, *out]
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_initialization():
    layer = Involution2d(64)
    assert layer.conv2.conv.weight.std().item() == pytest.approx(math.sqrt(2 / (49 * 4)), rel=0.05)
    assert not layer.conv2.conv.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 24}, "group_channels: expected a divisor of the 24 channels, got 16"),
        ({"channels": 32, "reduction_ratio": 5}, "reduction_ratio: expected a divisor of the 32 channels, got 5"),
        ({"channels": 32, "kernel_size": 0}, "kernel_size: expected an int or a pair, each at least 1, got 0"),
        ({"channels": 32, "stride": (1, 2, 3)}, r"stride: expected an int or a pair, .* got \(1, 2, 3\)"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Involution2d(**options)


def test_training_keeps_no_kernels():
    layer, x = Involution2d(64), torch.randn(1, 64, 16, 16)
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    kernels = 49 * 4 * 16 * 16
    assert max(kept) < kernels


PARITY = pytest.mark.xfail(
    torch.torch_version.TorchVersion(torch.__version__) < "2.14",
    reason="exporters older than this have not been seen to leave open whether a pooled size is odd",
    strict=False,
)


@pytest.mark.slow
def test_compiles():
    layer = Involution2d(32, 7, 2).eval()
    x, other = torch.randn(2, 32, 9, 8), torch.randn(2, 32, 12, 15)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(compiled(other), layer(other))


@pytest.mark.parametrize("other", [(13, 16), pytest.param((12, 15), marks=PARITY)])
def test_exports(other):
    layer = Involution2d(32, 7, 2).eval()
    x, other = torch.randn(2, 32, 9, 8), torch.randn(2, 32, *other)
    size = {2: torch.export.Dim("height", min=4, max=64), 3: torch.export.Dim("width", min=4, max=64)}
    # Pooling in ceiling mode asks whether 2·((H − 1) // 2) < H, which is true and more than the exporter can prove.
    options = {"dynamic_shapes": (size,), "prefer_deferred_runtime_asserts_over_guards": True}
    exported = torch.export.export(layer, (x,), **options).module()
    torch.testing.assert_close(exported(other), layer(other))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_scripts():
    layer, x = Involution2d(32, 7, 2).eval(), torch.randn(2, 32, 9, 8)
    torch.testing.assert_close(torch.jit.script(layer)(x), layer(x))
