"""Attention-augmented convolution: PyTorch's attention against the explicit softmax and against loops."""

import pytest
import torch
from torch.nn import functional as F

from involution.layers.attention.augmented import AugmentedConv2d


def layer_and_input(height=6, width=7, **kwargs):
    torch.manual_seed(0)
    layer = AugmentedConv2d(80, size=5, dtype=torch.float64, **kwargs)  # a table that the map outgrows
    return layer, torch.randn(2, 80, height, width, dtype=torch.float64)


def attention_by_loops(layer, x):
    """Sum over all pixels, offsets beyond the tables taking their last entry."""
    query, key, value = layer.qkv(x).split((layer.key_channels, layer.key_channels, layer.value_channels), 1)
    batch, _, height, width = query.shape
    query, key, value = (part.unflatten(1, (8, -1)) for part in (query, key, value))
    reach = len(layer.rows) // 2

    def entry(table, offset):
        return table[max(-reach, min(reach, offset)) + reach]

    y = torch.zeros_like(value)
    for b in range(batch):
        for h in range(8):
            for i in range(height):
                for j in range(width):
                    seen = [
                        key[b, h, :, r, c] + entry(layer.rows, r - i) + entry(layer.columns, c - j)
                        for r in range(height)
                        for c in range(width)
                    ]
                    logits = torch.stack(seen) @ query[b, h, :, i, j] / query.shape[2] ** 0.5
                    y[b, h, :, i, j] = value[b, h].flatten(1) @ logits.softmax(0)
    return layer.proj(y.flatten(1, 2))


@pytest.mark.parametrize("stride", [1, 2])
def test_attention_equals_loops(stride):
    layer, x = layer_and_input(stride=stride)
    torch.testing.assert_close(layer.attend(x[:1]), attention_by_loops(layer, x[:1]))


def test_attention_through_pytorch_equals_the_explicit_softmax():
    layer, x = layer_and_input(5, 4)
    query, key, value, bias = layer.queries(x)
    explicit = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + bias).softmax(-1) @ value
    explicit = layer.proj(explicit.transpose(2, 3).reshape(2, -1, 5, 4))
    torch.testing.assert_close(layer.attend(x), explicit)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pooled", [False, True])
def test_output_is_convolution_beside_attention(stride, pooled):
    layer, x = layer_and_input(stride=stride, pooled=pooled)
    conv = F.conv2d(x, layer.conv.weight, stride=stride, padding=1)
    attended = layer.attend(F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if pooled else x)
    if pooled:
        attended = F.interpolate(attended, conv.shape[2:], mode="bilinear")
    torch.testing.assert_close(layer(x), torch.cat([conv, attended], 1))
    assert layer(x).shape == (2, 80, *conv.shape[2:])


def test_gradients():
    layer, x = layer_and_input(2, 2)
    parameters = [layer.rows, layer.columns, layer.proj.weight, layer.qkv.weight]
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x[:1].requires_grad_(), *parameters), fast_mode=True)


def test_widths_follow_the_paper():
    """At least 20 channels a head for the keys, and a tenth of the channels for the values, in whole heads."""
    widths = {c: (layer.key_channels, layer.value_channels) for c in (128, 256, 512) for layer in [AugmentedConv2d(c)]}
    assert widths == {128: (160, 8), 256: (160, 24), 512: (160, 48)}


def test_errors():
    with pytest.raises(ValueError, match="channels: expected at least 80 for 8 heads, got 64"):
        AugmentedConv2d(64)
    with pytest.raises(ValueError, match="heads: expected at least 1, got 0"):
        AugmentedConv2d(64, heads=0)
