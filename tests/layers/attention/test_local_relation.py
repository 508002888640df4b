"""Local relation against four plain loops."""

import pytest
import torch

from involution.layers.attention.local_relation import LocalRelation2d

SIMILARITIES = {
    "product": lambda q, k: q * k,
    "squared": lambda q, k: -((q - k) ** 2),
    "absolute": lambda q, k: -abs(q - k),
}


def layer_and_input(size=(6, 7), **kwargs):
    torch.manual_seed(0)
    layer = LocalRelation2d(8, group_channels=4, dtype=torch.float64, **kwargs)
    return layer, torch.randn(2, 8, *size, dtype=torch.float64)


def relation_by_loops(layer, x):
    """Sum, pixel by pixel, over the taps that lie in the image."""
    query, key = layer.query(x), layer.key(x)
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    height, width = x.shape[2:]
    batch, groups, *out = query.shape
    similar = SIMILARITIES[layer.similarity]
    y = x.new_zeros(batch, 8, *out)
    for b in range(batch):
        for g in range(groups):
            for i in range(out[0]):
                for j in range(out[1]):
                    logits, values = [], []
                    for u in range(kh):
                        for v in range(kw):
                            row, column = i * sh + u * dh - ph, j * sw + v * dw - pw
                            if 0 <= row < height and 0 <= column < width:
                                place = x.new_tensor([2 * u / (kh - 1) - 1, 2 * v / (kw - 1) - 1])[:, None, None]
                                prior = layer.geometry(place)[g, 0, 0]
                                logits.append(similar(query[b, g, i, j], key[b, g, row, column]) + prior)
                                values.append(x[b, 4 * g : 4 * g + 4, row, column])
                    y[b, 4 * g : 4 * g + 4, i, j] = torch.stack(logits).softmax(0) @ torch.stack(values)
    return layer.proj(y)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"kernel_size": 2},
        {"kernel_size": 3},
        {"kernel_size": 7},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "dilation": 2},
        {"kernel_size": (5, 3), "stride": (2, 1), "dilation": (1, 2)},
        {"kernel_size": 3, "similarity": "squared", "stride": 2},
        {"kernel_size": 3, "similarity": "absolute"},
    ],
    ids=str,
)
def test_relation_equals_loops(kwargs):
    layer, x = layer_and_input(**kwargs)
    torch.testing.assert_close(layer(x), relation_by_loops(layer, x))


@pytest.mark.parametrize("similarity", ["product", "squared"])
def test_gradients(similarity):
    layer, x = layer_and_input(size=(3, 4), kernel_size=3, stride=2, similarity=similarity)
    torch.nn.init.constant_(layer.geometry[0].bias, 0.3)  # away from the kink of the ReLU at the centre
    parameters = list(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x[:1].requires_grad_(), *parameters), fast_mode=True)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"group_channels": 3}, "group_channels: expected a divisor of the 8 channels, got 3"),
        ({"similarity": "cosine"}, 'similarity: expected "product", "squared" or "absolute", got \'cosine\''),
        ({"dilation": (1, 2, 3)}, "dilation: expected an int or a pair"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LocalRelation2d(8, **kwargs)
