"""The operator under the names of other papers, against their formulas and, where it is installed, their code."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.optical_flow._utils import upsample_flow

from involution import family

wide = {"dtype": torch.float64}


def unfolded(x, size):
    """[B, C, K·K, H, W]: the pixels around every pixel, zero outside."""
    return F.unfold(x, size, padding=size // 2).view(*x.shape[:2], size * size, *x.shape[2:])


def skas(size=3):
    return torch.randn(2, 12, 5, 7, **wide), torch.randn(2, 3, size * size, 5, 7, **wide)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_ska(size):
    x, w = skas(size)
    channels = torch.arange(12)
    torch.testing.assert_close(family.ska(x, w), (w[:, channels % 3] * unfolded(x, size)).sum(2))


def carafe_of_mmcv(features, masks, kernel_size, group_size, scale):
    """Loops of mmcv's `carafe_naive_forward_cuda_kernel.cuh`."""
    batch, channels, height, width = features.shape
    y = features.new_zeros(batch, channels, height * scale, width * scale)
    half = (kernel_size - 1) // 2
    for c in range(channels):
        group = c // (channels // group_size)
        for ph in range(height * scale):
            for pw in range(width * scale):
                down_h, down_w = ph // scale, pw // scale
                for ih in range(down_h - half, down_h + half + 1):
                    for iw in range(down_w - half, down_w + half + 1):
                        if 0 <= ih <= height - 1 and 0 <= iw <= width - 1:
                            at = (ih - down_h + half) * kernel_size + iw - down_w + half
                            mask = masks[:, group * kernel_size**2 + at, ph, pw]
                            y[:, c, ph, pw] += mask * features[:, c, ih, iw]
    return y


@pytest.mark.parametrize(("size", "groups", "scale"), [(5, 1, 2), (3, 2, 3), (3, 4, 1)])
def test_carafe(size, groups, scale):
    x = torch.randn(2, 4, 3, 5, **wide)
    masks = torch.randn(2, groups * size**2, 3 * scale, 5 * scale, **wide)
    expected = carafe_of_mmcv(x, masks, size, groups, scale)
    torch.testing.assert_close(family.carafe(x, masks, size, groups, scale), expected, rtol=0, atol=1e-12)
    narrow = family.carafe(x.float(), masks.float(), size, groups, scale)
    torch.testing.assert_close(narrow.double(), expected, rtol=0, atol=2e-5)


def test_the_module_carafe_has_the_parameters_of_mmcv_and_its_masks():
    module = family.CARAFE(6, scale_factor=2, up_kernel=3, up_group=2, compressed_channels=4).double()
    assert list(module.state_dict()) == [
        f"{part}.{name}" for part in ("channel_compressor", "content_encoder") for name in ("weight", "bias")
    ]
    torch.nn.init.normal_(module.content_encoder.weight)
    x = torch.randn(1, 6, 4, 3, **wide)
    masks = F.pixel_shuffle(module.content_encoder(module.channel_compressor(x)), 2)
    n, channels, height, width = masks.shape  # as CARAFEPack.kernel_normalizer does
    masks = F.softmax(masks.view(n, channels // 9, -1, height, width), dim=2).view(n, channels, height, width)
    torch.testing.assert_close(module(x), carafe_of_mmcv(x, masks, 3, 2, 2))


@pytest.mark.parametrize("factor", range(1, 9))
def test_convex_upsample_is_that_of_torchvision(factor):
    flow, mask = torch.randn(2, 2, 5, 7), torch.randn(2, 9 * factor**2, 5, 7)
    torch.testing.assert_close(
        family.convex_upsample(flow, mask, factor), upsample_flow(flow, mask, factor), rtol=1e-6, atol=1e-5
    )
    expected = upsample_flow(flow.double(), mask.double(), factor)
    got = family.convex_upsample(flow.double(), mask.double(), factor)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("padding_l", [None, 0, 2, 4])
def test_dynamic_conv1d(padding_l):
    x, weight = torch.randn(2, 6, 9, **wide), torch.randn(2, 3, 5, 9, **wide)
    front = 4 if padding_l is None else padding_l
    seen = F.pad(x, (front, 4 - front)).unfold(2, 5, 1)  # [B, C, T, K]
    expected = (weight.repeat_interleave(2, 1).transpose(2, 3) * seen).sum(-1)
    torch.testing.assert_close(family.dynamic_conv1d(x, weight, padding_l), expected)


@pytest.mark.parametrize("colours", [1, 3])
def test_predict_kernels(colours):
    frames, core = torch.randn(2, 4, 3, 6, 7, **wide), torch.randn(2, 4 * 25 * colours, 6, 7, **wide)
    seen = unfolded(frames.flatten(0, 1), 5).unflatten(0, (2, 4))  # [B, N, 3, 25, H, W]
    kernels = core.view(2, 4, 25, colours, 6, 7).transpose(2, 3)
    torch.testing.assert_close(family.predict_kernels(frames, core, 5), (kernels * seen).sum(3))
    one = family.predict_kernels(frames[:, 0], core.view(2, 4, -1, 6, 7)[:, 0], 5)
    torch.testing.assert_close(one, (kernels[:, 0] * seen[:, 0]).sum(2))


def halves(rank=2):
    size = [5, 4, 3][:rank]
    query, key, value = (torch.randn(2, 3, *size, 8, **wide) for _ in range(3))
    return query, key, value


@pytest.mark.parametrize("dilation", [1, 2])
def test_local_attention(dilation):
    query, key, value = halves()
    around = [
        torch.stack(
            [
                F.pad(t, (0, 0, *[dilation] * 4))[:, :, u * dilation :, v * dilation :][:, :, :5, :4]
                for u in range(3)
                for v in range(3)
            ],
            -2,
        )
        for t in (key, value)
    ]
    products = family.local_products(query, key, 3, dilation)
    torch.testing.assert_close(products, (query.unsqueeze(-2) * around[0]).sum(-1))
    attention = products.softmax(-1)
    sums = family.local_sums(attention, value, 3, dilation)
    torch.testing.assert_close(sums, (attention.unsqueeze(-1) * around[1]).sum(-2))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_halves_of_local_attention_are_derivatives_of_each_other(rank):
    query, key, value = halves(rank)
    products = family.local_products(query, key, 3)
    assert products.shape == (2, 3, *query.shape[2:-1], 3**rank)
    sums = family.local_sums(products, value, 3)
    torch.testing.assert_close((products * family.local_products(query, value, 3)).sum(), (query * sums).sum())


def calls():
    """One small call of every function."""
    torch.manual_seed(0)
    query, key, _ = (t[:1, :1, :3, :2, :2] for t in halves())
    return {
        "ska": (family.ska, (torch.randn(1, 4, 3, 2, **wide), torch.randn(1, 2, 9, 3, 2, **wide))),
        "carafe": (
            lambda x, m: family.carafe(x, m, 3, 1, 2),
            (torch.randn(1, 2, 3, 2, **wide), torch.randn(1, 9, 6, 4, **wide)),
        ),
        "convex_upsample": (
            lambda x, m: family.convex_upsample(x, m, 2),
            (torch.randn(1, 2, 3, 2, **wide), torch.randn(1, 36, 3, 2, **wide)),
        ),
        "dynamic_conv1d": (family.dynamic_conv1d, (torch.randn(1, 4, 5, **wide), torch.randn(1, 2, 3, 5, **wide))),
        "predict_kernels": (
            lambda x, k: family.predict_kernels(x, k, 3),
            (torch.randn(1, 3, 3, 2, **wide), torch.randn(1, 9, 3, 2, **wide)),
        ),
        "local_products": (lambda q, k: family.local_products(q, k, 3), (query, key)),
        "local_sums": (lambda a, v: family.local_sums(a, v, 3), (torch.randn(1, 1, 3, 2, 9, **wide), key)),
    }


@pytest.mark.parametrize("name", calls())
def test_derivatives(name):
    function, inputs = calls()[name]
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


class Call(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize("name", calls())
def test_compiles_and_exports(name):
    function, inputs = calls()[name]
    expected = function(*inputs)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), expected)
    exported = torch.export.export(Call(function), inputs)
    torch.testing.assert_close(exported.module()(*inputs), expected)


def test_refused():
    x = torch.rand(1, 4, 5, 6)
    with pytest.raises(ValueError, match=r"w: expected \[B, G, K\*K, H, W\], got shape \[1, 2, 3, 3, 5, 6\]"):
        family.ska(x, torch.rand(1, 2, 3, 3, 5, 6))
    with pytest.raises(ValueError, match=r"w: expected a square number of taps, K\*K, got 8"):
        family.ska(x, torch.rand(1, 2, 8, 5, 6))
    with pytest.raises(ValueError, match="masks: expected the 25 channels of group_size 1 and kernel_size 5, got 9"):
        family.carafe(x, torch.rand(1, 9, 10, 12), 5, 1, 2)
    with pytest.raises(ValueError, match="up_mask: expected the 576 channels of factor 8, got 9"):
        family.convex_upsample(x, torch.rand(1, 9, 5, 6))
    with pytest.raises(ValueError, match="padding_l: expected 0 to K - 1 = 2, got 3"):
        family.dynamic_conv1d(x[0], torch.rand(4, 1, 3, 6), 3)
    with pytest.raises(ValueError, match=r"weight: expected \[B, H, K, T\], got shape"):
        family.dynamic_conv1d(x[0], x[0])
    with pytest.raises(ValueError, match="core: expected 9 or 36 channels, got 10"):
        family.predict_kernels(x, torch.rand(1, 10, 5, 6), 3)
    with pytest.raises(ValueError, match=r"query: expected \[B, heads, \*size, D\] of one to three axes"):
        family.local_products(x[0], x[0], 3)
    with pytest.raises(ValueError, match="attention: expected the 9 taps of kernel_size, got 6"):
        family.local_sums(torch.rand(1, 2, 4, 5, 6), torch.rand(1, 2, 4, 5, 8), 3)
