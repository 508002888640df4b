"""Axial attention against plain loops along the axis."""

import pytest
import torch

from involution.layers.attention.axial import AxialAttention2d


def layer_and_input(size=(6, 7), **kwargs):
    torch.manual_seed(0)
    layer = AxialAttention2d(16, heads=2, dtype=torch.float64, **kwargs)
    for norm in (layer.norm_qkv, layer.norm_logits, layer.norm_value, layer.norm_position):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
        torch.nn.init.uniform_(norm.running_var)
    return layer, torch.randn(2, 16, *size, dtype=torch.float64)


def attention_by_loops(layer, x):
    """Attend along columns; the norm of the logits sees them as one long list."""
    query, key, value = layer.norm_qkv(layer.qkv(x)).split((8, 8, 16), 1)
    query, key, value = (part.unflatten(1, (2, -1)) for part in (query, key, value))
    batch, _, height, width = x.shape
    span = layer.span
    pairs = [(i, r) for i in range(height) for r in range(height) if abs(r - i) <= span]
    terms = []
    for i, r in pairs:
        for_query, for_key = layer.for_query[r - i + span], layer.for_key[r - i + span]
        products = (query[:, :, :, i] * key[:, :, :, r]).sum(2)
        by_query = torch.einsum("bgdj,d->bgj", query[:, :, :, i], for_query)
        by_key = torch.einsum("bgdj,d->bgj", key[:, :, :, r], for_key)
        terms.append(torch.cat([products, by_query, by_key], 1))
    normed = layer.norm_logits(torch.stack(terms, 2))  # [B, 3·heads, pairs, W]
    logits = normed[:, 0:2] + normed[:, 2:4] + normed[:, 4:6]
    gathered, position = torch.zeros_like(value), torch.zeros_like(value)
    for b in range(batch):
        for g in range(2):
            for i in range(height):
                for j in range(width):
                    mine = [n for n, (row, _) in enumerate(pairs) if row == i]
                    weights = logits[b, g, mine, j].softmax(0)
                    for weight, n in zip(weights, mine, strict=True):
                        r = pairs[n][1]
                        gathered[b, g, :, i, j] += weight * value[b, g, :, r, j]
                        position[b, g, :, i, j] += weight * layer.for_value[r - i + span]
    return layer.norm_value(gathered.flatten(1, 2)) + layer.norm_position(position.flatten(1, 2))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("span", [1, 2, 5, 8])
def test_columns_equal_loops(span, training):
    layer, x = layer_and_input(vertical=True, span=span)
    layer.train(training)
    torch.testing.assert_close(layer(x), attention_by_loops(layer, x))


def test_rows_are_columns_of_the_transposed_image():
    layer, x = layer_and_input(vertical=False, span=3)
    torch.testing.assert_close(layer(x), attention_by_loops(layer, x.transpose(2, 3)).transpose(2, 3))


@pytest.mark.parametrize("vertical", [True, False])
def test_stride_keeps_every_second_line(vertical):
    layer, x = layer_and_input(vertical=vertical, span=2)
    layer.eval()
    full = layer(x)
    layer.stride = 2
    torch.testing.assert_close(layer(x), full[:, :, ::2] if vertical else full[..., ::2])


@pytest.mark.parametrize("vertical", [True, False])
def test_gradients(vertical):
    layer, x = layer_and_input(size=(3, 4), vertical=vertical, span=1)
    parameters = [layer.for_query, layer.for_key, layer.for_value, layer.norm_logits.weight]
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x[:1].requires_grad_(), *parameters), fast_mode=True)


def test_errors():
    with pytest.raises(ValueError, match="heads: expected a divisor of the 12 channels, got 8"):
        AxialAttention2d(24, vertical=True)
    with pytest.raises(ValueError, match="channels: expected an even number, got 25"):
        AxialAttention2d(25, vertical=True)
