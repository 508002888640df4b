"""SAN's two kernels against plain loops over reflected windows."""

import pytest
import torch

from involution.layers.attention.san import SANPairwise2d, SANPatchwise2d


def layer_and_input(attention, kernel_size, size=(6, 7), batch=2):
    torch.manual_seed(0)
    layer = attention(32, kernel_size, dtype=torch.float64)
    for parameter in layer.mlp.parameters():  # norms that do something
        torch.nn.init.normal_(parameter)
    return layer, torch.randn(batch, 32, *size, dtype=torch.float64)


def reflected(index, size):
    return size - 1 - abs(size - 1 - abs(index))


def windows_by_loops(x, kernel_size):
    """Return [B, C, K·K, H·W] of a map reflected at its border."""
    height, width = x.shape[2:]
    reach = kernel_size // 2
    taps = []
    for u in range(-reach, reach + 1):
        for v in range(-reach, reach + 1):
            for i in range(height):
                for j in range(width):
                    taps.append(x[:, :, reflected(i + u, height), reflected(j + v, width)])
    return torch.stack(taps, 2).unflatten(2, (kernel_size**2, height * width))


def pairwise_by_loops(layer, x):
    rows, columns = (torch.linspace(-1, 1, size, dtype=x.dtype) for size in x.shape[2:])
    place = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))])[None]
    place = layer.position(place).expand(len(x), -1, -1, -1)
    seen = torch.cat([layer.query(x), place], 1), torch.cat([layer.key(x), place], 1)
    relation = seen[0].flatten(2)[:, :, None] - windows_by_loops(seen[1], layer.kernel_size)
    return layer.mlp(relation).softmax(2)  # [B, G, K·K, H·W]


def patchwise_by_loops(layer, x):
    near = windows_by_loops(layer.key(x), layer.kernel_size).flatten(1, 2)  # [B, C·K·K, H·W]
    seen = torch.cat([layer.query(x), near.unflatten(2, x.shape[2:])], 1)
    return layer.mlp(seen).flatten(2).unflatten(1, (layer.groups, -1))


CASES = [(SANPairwise2d, pairwise_by_loops), (SANPatchwise2d, patchwise_by_loops)]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize(("attention", "kernel_by_loops"), CASES)
def test_attention_equals_loops(attention, kernel_by_loops, kernel_size, training):
    layer, x = layer_and_input(attention, kernel_size)
    layer.train(training)
    weights = kernel_by_loops(layer, x)
    values = windows_by_loops(layer.value(x), kernel_size).unflatten(1, (layer.groups, 8))
    y = (weights[:, :, None] * values).sum(3).flatten(1, 2).unflatten(2, x.shape[2:])
    torch.testing.assert_close(layer(x), y)


@pytest.mark.parametrize("attention", [SANPairwise2d, SANPatchwise2d])
def test_gradients(attention):
    layer, x = layer_and_input(attention, 3, size=(3, 2), batch=2)
    torch.nn.init.normal_(layer.query.bias)
    parameters = [layer.key.weight, layer.mlp[2].weight, layer.mlp[5].weight]
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x.requires_grad_(), *parameters), fast_mode=True)


@pytest.mark.parametrize("attention", [SANPairwise2d, SANPatchwise2d])
def test_errors(attention):
    with pytest.raises(ValueError, match="channels: expected a multiple of 32, got 48"):
        attention(48)
    with pytest.raises(ValueError, match="kernel_size: expected an odd number of pixels, got 4"):
        attention(32, 4)
    with pytest.raises(ValueError, match=r"x: expected more than 3 pixels per axis to reflect, got \[3, 8\]"):
        attention(32, 7)(torch.rand(1, 32, 3, 8))
