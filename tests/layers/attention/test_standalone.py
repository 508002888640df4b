"""Stand-alone self-attention against four plain loops, and against softmax(query · key)."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from involution.layers.attention.standalone import StandAlone2d


def layer_and_input(size=(6, 7), **kwargs):
    torch.manual_seed(0)
    layer = StandAlone2d(16, heads=2, dtype=torch.float64, **kwargs)
    return layer, torch.randn(2, 16, *size, dtype=torch.float64)


def attention_by_loops(layer, x):
    """Sum, pixel by pixel, over the taps that lie in the image."""
    query, key, value = (part(x).unflatten(1, (2, 8)) for part in (layer.query, layer.key, layer.value))
    y = torch.zeros_like(value)
    (kh, kw), (ph, pw), (dh, dw), (height, width) = layer.kernel_size, layer.padding, layer.dilation, x.shape[2:]
    for b in range(len(x)):
        for h in range(2):
            for i in range(height):
                for j in range(width):
                    logits, values = [], []
                    for u in range(kh):
                        for v in range(kw):
                            row, column = i + u * dh - ph, j + v * dw - pw
                            if 0 <= row < height and 0 <= column < width:
                                seen = key[b, h, :, row, column]
                                if layer.rows is not None:
                                    seen = seen + torch.cat([layer.rows[:, u], layer.columns[:, v]])
                                logits.append(query[b, h, :, i, j] @ seen)
                                values.append(value[b, h, :, row, column])
                    y[b, h, :, i, j] = torch.stack(logits).softmax(0) @ torch.stack(values)
    return y.flatten(1, 2)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"kernel_size": 3},
        {"kernel_size": 7},
        {"kernel_size": 3, "dilation": 2},
        {"kernel_size": (3, 5), "dilation": (2, 1)},
        {"kernel_size": 4},
        {"kernel_size": 3, "relative": False},
    ],
    ids=str,
)
def test_attention_equals_loops(kwargs):
    layer, x = layer_and_input(**kwargs)
    torch.testing.assert_close(layer(x), attention_by_loops(layer, x))


def test_stride_averages_the_pixels_that_exist():
    layer, x = layer_and_input(kernel_size=3, stride=2)
    full = attention_by_loops(layer, x)
    y = layer(x)
    assert y.shape == (2, 16, 3, 4)
    for i in range(3):
        for j in range(4):
            torch.testing.assert_close(y[..., i, j], full[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3)))


def test_involution_with_kernel_softmax_of_query_times_key_is_local_attention():
    """PyTorch's attention, masked to a window, gives the outputs of the layer."""
    layer, x = layer_and_input(kernel_size=5, relative=False)
    height, width = x.shape[2:]
    rows, columns = torch.arange(height * width) // width, torch.arange(height * width) % width
    near = ((rows - rows[:, None]).abs() <= 2) & ((columns - columns[:, None]).abs() <= 2)
    query, key, value = (
        part(x).unflatten(1, (2, 8)).flatten(3).transpose(2, 3) for part in (layer.query, layer.key, layer.value)
    )
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=near, scale=1.0)
    torch.testing.assert_close(layer(x), attended.transpose(2, 3).reshape(x.shape))


def test_kernel_is_a_distribution_that_ignores_what_is_outside():
    layer, x = layer_and_input(kernel_size=3)
    kernel = layer.kernel(x)
    torch.testing.assert_close(kernel.sum((2, 3)), torch.ones(2, 2, 6, 7, dtype=torch.float64))
    assert (kernel[:, :, 0, :, 0] == 0).all()
    assert (kernel[:, :, :, 2, :, -1] == 0).all()


def test_gradients():
    layer, x = layer_and_input(size=(3, 4), kernel_size=3, stride=2)
    parameters = list(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x[:1].requires_grad_(), *parameters), fast_mode=True)


def test_half_precision_takes_the_softmax_in_float32():
    layer, x = layer_and_input(kernel_size=3)
    layer, x = layer.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"heads": 3}, "heads: expected a divisor of the 16 channels, got 3"),
        ({"kernel_size": 0}, "kernel_size: expected an int or a pair, each at least 1, got 0"),
        ({"stride": 0}, "stride: expected an int or a pair, each at least 1, got 0"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        StandAlone2d(16, **kwargs)


def test_initial_logits_have_unit_variance():
    torch.manual_seed(0)
    layer = StandAlone2d(256, relative=False)
    x = torch.randn(1, 256, 20, 20)
    query, key = (part(x).unflatten(1, (8, 32)).flatten(3) for part in (layer.query, layer.key))
    assert 0.8 < torch.einsum("bhdi,bhdj->bhij", query, key).std().item() < 1.25


def test_state_dict_names():
    assert set(dict(StandAlone2d(16).named_parameters())) == {
        "query.weight",
        "key.weight",
        "value.weight",
        "rows",
        "columns",
    }
    assert isinstance(StandAlone2d(16).pool, nn.Identity)
