"""Block attention against plain loops, blocks that stick out of the image included."""

import pytest
import torch

from involution.layers.attention.block import BlockAttention2d


def layer_and_input(height, width):
    torch.manual_seed(0)
    layer = BlockAttention2d(3, 8, size=4, heads=2, mixtures=3, dtype=torch.float64)
    return layer, torch.randn(2, 3, height, width, dtype=torch.float64)


def attention_by_loops(layer, x):
    batch, _, height, width = x.shape
    maps = layer.value.weight.flatten(1).unflatten(0, (3, 8))  # [mixtures, C', C]
    query, key = layer.query(x), layer.key(x)
    value, y = torch.zeros_like(query), torch.zeros_like(query)
    for i in range(height):
        for j in range(width):
            shares = (layer.mixtures @ (layer.rows[i % 4] + layer.columns[j % 4])).softmax(0)
            value[..., i, j] = torch.einsum("m,mdc,bc->bd", shares, maps, x[..., i, j])
    for b in range(batch):
        for head in (slice(0, 4), slice(4, 8)):
            for i in range(height):
                for j in range(width):
                    rows = range(i // 4 * 4, min(i // 4 * 4 + 4, height))
                    columns = range(j // 4 * 4, min(j // 4 * 4 + 4, width))
                    block = [(r, c) for r in rows for c in columns]
                    logits = torch.stack([query[b, head, i, j] @ key[b, head, r, c] for r, c in block])
                    values = torch.stack([value[b, head, r, c] for r, c in block])
                    y[b, head, i, j] = logits.softmax(0) @ values
    return y


@pytest.mark.parametrize("size", [(4, 8), (6, 7), (5, 4), (3, 2)])
def test_attention_equals_loops(size):
    layer, x = layer_and_input(*size)
    torch.testing.assert_close(layer(x), attention_by_loops(layer, x))


def test_gradients():
    layer, x = layer_and_input(2, 5)
    parameters = list(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x[:1].requires_grad_(), *parameters), fast_mode=True)


def test_errors():
    with pytest.raises(ValueError, match="heads: expected a divisor of the 64 channels, got 5"):
        BlockAttention2d(3, 64, heads=5)
