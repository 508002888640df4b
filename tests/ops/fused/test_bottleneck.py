"""A bottleneck block as one operator against the same block layer by layer, in float64."""

import random

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from involution.layers import Involution2d
from involution.models.fused import FusedBottleneck, is_fusable
from involution.models.skeleton.trunk import Bottleneck
from involution.ops import cpu


def block(mid, stride=1, dilation=1, kernel_size=7, group_channels=16, channels=64, projection=None, **options):
    """Return a block in eval mode with random norms and biases."""
    out = options.get("out", channels)
    shortcut = None
    if stride > 1 or out != channels or projection:
        shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    mixer = Involution2d(mid, kernel_size, stride, dilation, group_channels)
    made = Bottleneck(channels, mid, out, mixer, shortcut, 0.0, nn.BatchNorm2d, nn.ReLU)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    nn.init.normal_(mixer.conv2.conv.bias)
    return made.eval()


def difference(made, x, dtype=torch.float32):
    """Return the largest difference between the operator and the block in float64, relative to the largest output."""
    with torch.no_grad():
        made, x = made.to(dtype), x.to(dtype)
        got = FusedBottleneck(made)(x)
        expected = made.double()(x.double())
    assert got.shape == expected.shape
    assert got.is_contiguous(memory_format=torch.channels_last)
    return ((got.double() - expected).abs().max() / expected.abs().max()).item()


def image(batch, channels, height, width):
    return torch.randn(batch, channels, height, width).contiguous(memory_format=torch.channels_last)


def drawn(seed):
    """Draw a block, an image and a number of threads."""
    pick = random.Random(seed)
    torch.manual_seed(seed)
    mid, stride = 16 * pick.choice([1, 2, 3, 4, 5, 8]), pick.choice([1, 1, 2])
    options = {
        "stride": stride,
        "dilation": pick.choice([1, 1, 2, 4]),
        "kernel_size": pick.choice([1, 3, 5, 7, 7, 7, 9, (3, 7)]),
        "group_channels": pick.choice([16, 16, 16, 16 * (mid // 16)]),
        "channels": 16 * pick.choice([1, 2, 4, 7, 8]),
        "projection": pick.random() < 0.3,
    }
    if pick.random() < 0.5:
        options["out"] = 16 * pick.choice([1, 4, 5, 8, 16])
    x = image(pick.choice([1, 1, 2, 3, 5, 8]), options["channels"], pick.randint(1, 33), pick.randint(1, 33))
    return block(mid, **options), x, pick.choice([1, 2, 3, 7])


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def values_of(seeds, dtype, tolerance, threads):
    for seed in seeds:
        made, x, count = drawn(seed)
        threads(count)
        assert is_fusable(made)
        assert difference(made, x, dtype) < tolerance, f"block {seed}"


def test_values_of_drawn_blocks(threads):
    values_of(range(40), torch.float32, 1e-5, threads)


def test_values_of_drawn_blocks_in_bfloat16(threads):
    values_of(range(40), torch.bfloat16, 0.05, threads)


@pytest.mark.slow
def test_values_of_many_drawn_blocks(threads):
    values_of(range(40, 200), torch.float32, 1e-5, threads)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(0, 9, 9), (1, 1, 1), (3, 1, 40), (17, 5, 3), (1, 100, 3)])
def test_values_of_unusual_shapes(shape, stride):
    batch, height, width = shape
    made, x = block(32, stride), image(batch, 64, height, width)
    if batch:
        assert difference(made, x) < 1e-5
    else:
        assert FusedBottleneck(made)(x).numel() == 0


def test_values_in_any_memory_layout():
    made, x = block(32), image(2, 64, 9, 11)
    fused = FusedBottleneck(made)
    expected = fused(x)
    for other in (x.contiguous(), image(2, 80, 9, 11)[:, :64].copy_(x), image(2, 64, 9, 13)[..., 1:12].copy_(x)):
        torch.testing.assert_close(fused(other), expected, rtol=1e-4, atol=1e-4)


def test_values_do_not_depend_on_threads_or_batch(threads):
    fused, x = FusedBottleneck(block(64)), image(7, 64, 14, 14)
    alone = torch.cat([fused(one) for one in x.split(1)])
    for count in (1, 2, 3, 7):
        threads(count)
        torch.testing.assert_close(fused(x), alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_in_place(dtype, threads):
    for count, shape in ((1, (3, 64, 14, 14)), (2, (3, 64, 9, 11)), (3, (1, 64, 20, 7)), (2, (5, 64, 3, 3))):
        threads(count)
        fused, x = FusedBottleneck(block(32).to(dtype)), image(*shape).to(dtype)
        expected = fused(x)
        fused.inplace = True
        for other in (x.clone(), x.contiguous()):
            assert fused(other) is other
            tolerance = 1e-4 if dtype == torch.float32 else 0.05
            torch.testing.assert_close(other, expected, rtol=tolerance, atol=tolerance)


def test_nan_stays_nan():
    x = image(1, 64, 9, 9)
    x[0, 3, 4, 4] = float("nan")
    assert FusedBottleneck(block(32))(x)[0, :, 4, 4].isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
def test_registration(dtype, stride):
    fused, x = FusedBottleneck(block(32, stride).to(dtype)), image(1, 64, 5, 6).to(dtype)
    packed = [getattr(fused, f"packed{index}") for index in range(10)]
    arguments = (x, *packed, fused.groups, *fused.geometry, fused.projection)
    torch.library.opcheck(torch.ops.involution.bottleneck.default, arguments)
    if not fused.projection:
        torch.library.opcheck(torch.ops.involution.bottleneck_.default, arguments[:-1])


def test_multiply_adds_are_those_of_the_layers():
    x = image(2, 64, 9, 10)
    for made in (block(32), block(32, 2, out=128)):
        counts = []
        for module in (made, FusedBottleneck(made)):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                module(x)
            counts.append(counter.get_total_flops())
        wasted = 2 * 2 * x[0, 0].numel() * 32 * 8 * 2  # reduced channels are filled up to 16
        assert counts[0] <= counts[1] <= counts[0] + wasted + counts[0] // 4


def test_autocast_keeps_the_dtype_of_the_weights():
    fused, x = FusedBottleneck(block(32)), image(1, 64, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert fused(x).dtype == torch.float32
        assert fused(x.bfloat16()).dtype == torch.float32


@pytest.mark.skipif(not cpu.status()["loaded"], reason="the extension was not built")
def test_weights_that_do_not_fit_are_refused():
    fused, x = FusedBottleneck(block(32)), image(1, 64, 9, 9)
    packed = [getattr(fused, f"packed{index}") for index in range(10)]
    numbers = (fused.groups, *fused.geometry, fused.projection)
    with pytest.raises(RuntimeError, match="x: expected float32 or bfloat16"):
        torch.ops.involution.bottleneck(x.double(), *packed, *numbers)
    with pytest.raises(RuntimeError, match="expected packed weights in the dtype of x"):
        torch.ops.involution.bottleneck(x.bfloat16(), *packed, *numbers)
    for index in range(10):
        short = [*packed[:index], packed[index][:-1], *packed[index + 1 :]]
        with pytest.raises(RuntimeError, match="involution: "):
            torch.ops.involution.bottleneck(x, *short, *numbers)


def test_blocks_that_are_not_recognized():
    assert not is_fusable(nn.Identity())
    assert not is_fusable(block(24, group_channels=8))
    assert not is_fusable(block(32).double())
    made = block(32)
    made.act2 = nn.GELU()
    assert not is_fusable(made)
    made = block(32)
    made.conv1.register_forward_hook(lambda module, inputs, y: 2 * y)
    assert not is_fusable(made)
    made = block(32)
    made.conv3 = nn.Conv2d(made.conv3.in_channels, made.conv3.out_channels, 3, padding=1, bias=False)
    assert not is_fusable(made)
