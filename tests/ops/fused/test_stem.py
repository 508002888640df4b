"""The stem of a RedNet as one operator against the same stem layer by layer, in float64."""

import copy
from threading import Thread

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from involution.models.fused import FusedStem, is_fusable_stem
from involution.models.rednet import RedNet


def stem(kernel_size=3, in_chans=3):
    """Return a stem and its max pooling in eval mode, with random norms and biases."""
    net = RedNet(26, stem_kernel_size=kernel_size, in_chans=in_chans, num_classes=0)
    made = nn.Sequential(net.stem, net.maxpool)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    nn.init.normal_(made[0][1].conv2.conv.bias)
    return made.eval()


def difference(made, x, dtype=torch.float32):
    """Return the largest difference between the operator and the stem in float64, relative to the largest output."""
    with torch.no_grad():
        made, x = copy.deepcopy(made).to(dtype), x.to(dtype)
        assert is_fusable_stem(*made)
        got, expected = FusedStem(made[0])(x), made.double()(x.double())
    assert got.shape == expected.shape
    assert got.is_contiguous(memory_format=torch.channels_last)
    return ((got.double() - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


SHAPES = [(1, 3, 1, 1), (3, 3, 2, 5), (1, 3, 33, 64), (2, 3, 61, 47), (5, 3, 7, 130), (1, 3, 130, 112)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_values(count, threads):
    torch.manual_seed(count)
    threads(count)
    for shape in SHAPES:
        x = torch.randn(shape)
        assert difference(stem(), x) < 1e-5
        if max(shape) < 130:
            assert difference(stem(7), x.contiguous(memory_format=torch.channels_last)) < 1e-5


@pytest.mark.parametrize("in_chans", [1, 2, 4, 5])
def test_values_with_other_channels(in_chans):
    assert difference(stem(in_chans=in_chans), torch.randn(2, in_chans, 19, 22)) < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_values_in_bfloat16(shape):
    torch.manual_seed(0)
    assert difference(stem(), torch.randn(shape), torch.bfloat16) < 0.03


def test_values_in_any_memory_layout():
    fused, x = FusedStem(stem()[0]), torch.randn(2, 3, 21, 30)
    expected = fused(x)
    sliced = torch.randn(2, 5, 25, 33)[:, 1:4, 2:23, 1:31].copy_(x)
    for image in (sliced, x.mT.contiguous().mT, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(fused(image), expected)
    torch.testing.assert_close(fused(x[:1].expand(3, -1, -1, -1))[2:], expected[:1])
    assert fused(x[:0]).shape == (0, 64, 6, 8)


def test_calls_are_independent():
    fused, images = FusedStem(stem()[0]), [torch.randn(2, 3, 40, 56) for _ in range(4)]
    kept = [image.clone() for image in images]
    expected = [fused(image) for image in images]
    got = [None] * len(images)

    def work(index):
        for _ in range(5):
            got[index] = fused(images[index])

    workers = [Thread(target=work, args=(index,)) for index in range(len(images))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index, image in enumerate(images):
        assert torch.equal(image, kept[index])
        torch.testing.assert_close(got[index], expected[index], rtol=1e-6, atol=1e-6)


def test_nan_reaches_only_its_windows():
    fused, x = FusedStem(stem()[0]), torch.zeros(1, 3, 96, 96)
    x[0, 1, 40, 40] = float("nan")
    wrong = fused(x).isnan().any(1)[0]
    assert wrong[10, 10]
    assert not wrong[:8].any()
    assert not wrong[13:].any()
    assert not wrong[:, :8].any()
    assert not wrong[:, 13:].any()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_registration(dtype):
    fused = FusedStem(stem().to(dtype)[0])
    packed = [getattr(fused, f"packed{index}") for index in range(10)]
    arguments = (torch.randn(1, 3, 9, 14).to(dtype), *packed, fused.groups, fused.window)
    torch.library.opcheck(torch.ops.involution.stem.default, arguments)
    if dtype == torch.float32:
        for index in range(10):
            short = [*packed[:index], packed[index][:-1], *packed[index + 1 :]]
            with pytest.raises(RuntimeError):
                torch.ops.involution.stem(arguments[0], *short, *arguments[11:])


def test_multiply_adds_are_those_of_the_layers():
    made, x, counts = stem(), torch.randn(2, 3, 32, 36), []
    for module in (made, FusedStem(made[0])):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(x)
        counts.append(counter.get_total_flops())
    assert counts[0] <= counts[1] <= 1.2 * counts[0]  # reduced channels are filled up to 16


def test_stems_that_are_not_recognized():
    made = stem()
    assert not is_fusable_stem(made[0], nn.Identity())
    assert not is_fusable_stem(made[0], nn.MaxPool2d(3, 2, 1, ceil_mode=True))
    assert not is_fusable_stem(RedNet(26, stem="deep").stem, made[1])
    assert not is_fusable_stem(stem(in_chans=6)[0], made[1])
    made[0][3] = nn.GELU()
    assert not is_fusable_stem(*made)
