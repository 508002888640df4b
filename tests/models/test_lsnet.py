"""LSNet: the authors' values, names and shapes, every size, released checkpoints, timm's interface."""

import pytest
import timm
import torch
from sines import fill, image
from timm.layers import create_feature_extractor, get_graph_node_names
from torch.nn import functional as F

from involution.models.lsnet import LSNet
from involution.models.lsnet_blocks import LSConv, bias_of_distances, distances

WIDTHS = {"lsnet_t": (64, 128, 256, 384), "lsnet_s": (96, 192, 320, 448), "lsnet_b": (128, 256, 384, 512)}
DEPTHS = {"lsnet_t": (0, 2, 8, 10), "lsnet_s": (1, 2, 8, 10), "lsnet_b": (4, 6, 8, 10)}
SHORT = {"depths": (0, 0, 2, 2)}
"""All kinds of blocks, once each."""


def conv(name, out, per_group, size):
    """A convolution without bias, and its batch norm."""
    norm = {f"{name}.bn.{part}": (out,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.c.weight": (out, per_group, size, size), **norm, f"{name}.bn.num_batches_tracked": ()}


def block(name, c, index, attends):
    if index % 2 == 0:
        mixer = {
            **conv(f"{name}.mixer.conv", c, 1, 3),
            **conv(f"{name}.mixer.conv1", c, 1, 1),
            f"{name}.se.fc1.weight": (c // 4, c, 1, 1),
            f"{name}.se.fc1.bias": (c // 4,),
            f"{name}.se.fc2.weight": (c, c // 4, 1, 1),
            f"{name}.se.fc2.bias": (c,),
        }
    elif attends:
        mixer = {
            f"{name}.mixer.m.attention_biases": (4, 16),
            f"{name}.mixer.m.attention_bias_idxs": (16, 16),
            **conv(f"{name}.mixer.m.qkv", c + 128, c, 1),
            **conv(f"{name}.mixer.m.proj.1", c, c, 1),
            **conv(f"{name}.mixer.m.dw", 64, 1, 3),
        }
    else:
        kernel = {f"{name}.mixer.lkp.{part}": (9 * c // 8,) for part in ("cv4.bias", "norm.weight", "norm.bias")}
        norm = conv(f"{name}.mixer", c, 1, 1)
        norm.pop(f"{name}.mixer.c.weight")
        mixer = {
            **conv(f"{name}.mixer.lkp.cv1", c // 2, c, 1),
            **conv(f"{name}.mixer.lkp.cv2", c // 2, 1, 7),
            **conv(f"{name}.mixer.lkp.cv3", c // 2, c // 2, 1),
            f"{name}.mixer.lkp.cv4.weight": (9 * c // 8, c // 2, 1, 1),
            **kernel,
            **norm,
        }
    return {**mixer, **conv(f"{name}.ffn.m.pw1", 2 * c, c, 1), **conv(f"{name}.ffn.m.pw2", c, 2 * c, 1)}


@pytest.mark.parametrize(("name", "entries"), [("lsnet_t", 696), ("lsnet_s", 724), ("lsnet_b", 964)])
def test_names_and_shapes_are_those_of_the_authors(name, entries):
    widths = WIDTHS[name]
    w = widths[0]
    expected = {}
    for i, (inputs, outputs) in enumerate([(3, w // 4), (w // 4, w // 2), (w // 2, w)]):
        expected |= conv(f"patch_embed.{2 * i}", outputs, inputs, 3)
    for stage, depth in enumerate(DEPTHS[name]):
        width, blocks = widths[stage], f"blocks{stage + 1}"
        if stage:
            before = widths[stage - 1]
            expected |= {**conv(f"{blocks}.0", before, 1, 3), **conv(f"{blocks}.1", width, before, 1)}
        for index in range(depth):
            expected |= block(f"{blocks}.{index + (2 if stage else 0)}", width, index, attends=stage == 3)
    expected |= {f"head.bn.{part}": (widths[3],) for part in ("weight", "bias", "running_mean", "running_var")}
    expected |= {"head.bn.num_batches_tracked": (), "head.l.weight": (1000, widths[3]), "head.l.bias": (1000,)}
    found = {key: tuple(value.shape) for key, value in timm.create_model(name, device="meta").state_dict().items()}
    assert len(found) == entries
    assert found == expected


# Sums of the four stages and the first four logits: the authors' code with windows by unfold, float64.
AUTHORS = [
    (
        ("lsnet_t", 224, 224),
        (4.5903728236e03, -5.4341517308e02, -1.1126984585e03, 5.8950551889e04),
        (293.36206867, -209.99633816, 25.935553642, 170.93300526),
    ),
    (
        ("lsnet_s", 224, 224),
        (-7.8343354939e02, -6.4434113121e02, -7.5840120973e03, 1.7121593981e04),
        (108.68007932, -94.774222248, 30.404210471, 49.721063307),
    ),
]


@torch.no_grad()
@pytest.mark.parametrize(("case", "sums", "logits"), AUTHORS, ids=str)
def test_values_of_the_authors(case, sums, logits):
    name, height, width = case
    model, x = fill(timm.create_model(name).double()), image(height, width)
    y, got = model.patch_embed(x), []
    for stage in (model.blocks1, model.blocks2, model.blocks3, model.blocks4):
        y = stage(y)
        got.append(y.sum())
    torch.testing.assert_close(torch.stack(got), torch.tensor(sums, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(x)[0, :4], torch.tensor(logits, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_the_large_small_convolution_is_its_formula():
    """Forward and derivative, float64: channel c takes kernel c mod G, and the border is zero."""
    torch.manual_seed(0)
    layer = LSConv(32, dtype=torch.float64).eval()
    x = torch.rand(2, 32, 7, 9, dtype=torch.float64, requires_grad=True)
    windows = F.unfold(x, 3, padding=1).view(2, 32, 9, 7, 9)
    kernels = layer.lkp(x)
    assert kernels.shape == (2, 4, 9, 7, 9)
    expected = x + layer.bn((windows * kernels[:, torch.arange(32) % 4]).sum(2))
    torch.testing.assert_close(layer(x), expected)
    weights = torch.rand_like(x)
    grads = [torch.autograd.grad((y * weights).sum(), [x, *layer.parameters()]) for y in (layer(x), expected)]
    torch.testing.assert_close(*grads)


def test_kernels_are_normalized_over_the_image():
    kernels = LSConv(64).lkp(torch.rand(2, 64, 14, 11))
    torch.testing.assert_close(kernels.mean((2, 3, 4)), torch.zeros(2, 8), rtol=0, atol=1e-5)
    torch.testing.assert_close(kernels.var((2, 3, 4), correction=0), torch.ones(2, 8), rtol=0, atol=1e-2)


def test_biases_depend_on_the_distance_alone():
    table, index = torch.randn(4, 16), distances(4, 4)
    native = bias_of_distances(table, index, 4, 4)
    for a, b in ((0, 15), (5, 5), (13, 2)):
        away = abs(a // 4 - b // 4) * 4 + abs(a % 4 - b % 4)
        torch.testing.assert_close(native[:, a, b], table[:, away])
    other = bias_of_distances(table, index, 3, 6)
    assert other.shape == (4, 18, 18)
    torch.testing.assert_close(other, other.transpose(1, 2))
    torch.testing.assert_close(other[:, 0, 1], other[:, 8, 7])
    flat = bias_of_distances(torch.full((4, 16), 0.3), index, 7, 5)
    torch.testing.assert_close(flat, torch.full((4, 35, 35), 0.3))


@pytest.mark.parametrize("size", [(224, 224), (65, 97)], ids=str)
def test_every_parameter_gets_a_gradient(size):
    torch.manual_seed(0)
    model = timm.create_model("lsnet_t", num_classes=5)
    y = model(torch.randn(2, 3, *size))
    assert y.shape == (2, 5)
    y.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    # The authors start the branches of attention and feed-forward networks at zero, and so all before them.
    assert model.blocks3[3].mixer.lkp.cv1.c.weight.grad.any()
    assert model.blocks4[3].mixer.m.proj[1].bn.weight.grad.any()


def test_initialization():
    model = timm.create_model("lsnet_t")
    assert model.head.l.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not any(block.ffn.m.pw2.bn.weight.any() for block in model.blocks3[2:])
    assert not model.blocks4[3].mixer.m.attention_biases.any()
    assert not model.blocks4[3].mixer.m.proj[1].bn.weight.any()


@pytest.mark.parametrize("name", WIDTHS)
def test_features_have_strides_8_to_64(name):
    model = timm.create_model(name, features_only=True, device="meta")
    assert model.feature_info.reduction() == [8, 16, 32, 64]
    assert model.feature_info.channels() == list(WIDTHS[name])
    features = model(torch.empty(1, 3, 224, 161, device="meta"))
    sizes = [(28, 21), (14, 11), (7, 6), (4, 3)]
    assert [tuple(f.shape[1:]) for f in features] == [(w, *s) for w, s in zip(WIDTHS[name], sizes, strict=True)]


def test_the_interface_of_timm():
    model = timm.create_model("lsnet_t", in_chans=1, drop_rate=0.1, device="meta")
    entries, config = model.state_dict(), model.pretrained_cfg
    assert f"{config['classifier']}.weight" in entries and f"{config['first_conv']}.weight" in entries
    x = torch.empty(2, 1, 160, 160, device="meta")
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, model.num_features)
    model.reset_classifier(7)
    assert model(x).shape == (2, 7) and model.get_classifier() is model.head
    model.reset_classifier(0, "")
    assert model(x).shape == (2, 384, 3, 3)
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert sum(len(members) for members in groups.values()) == len(dict(model.named_parameters()))
    assert model.no_weight_decay() == {f"blocks4.{i}.mixer.m.attention_biases" for i in (3, 5, 7, 9, 11)}
    with pytest.raises(ValueError, match='global_pool: expected "avg" or "", got \'max\''):
        LSNet(global_pool="max", device="meta")


def test_checkpointing_changes_nothing():
    torch.manual_seed(0)
    model, x = timm.create_model("lsnet_t", num_classes=5, **SHORT), torch.randn(2, 3, 64, 65)
    grads = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(x).square().sum().backward()
        grads.append(model.patch_embed[0].c.weight.grad.clone())
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


def test_released_weights_load(tmp_path):
    model = fill(timm.create_model("lsnet_t", **SHORT))
    torch.save({"model": model.state_dict()}, tmp_path / "lsnet_t.pth")
    source = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "lsnet_t.pth")}}
    loaded = timm.create_model("lsnet_t", **source, **SHORT)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    few = timm.create_model("lsnet_t", **source, **SHORT, num_classes=3)
    assert torch.equal(few.blocks4[3].mixer.m.attention_biases, model.blocks4[3].mixer.m.attention_biases)


@torch.no_grad()
def test_two_distilled_classifiers_become_their_mean(tmp_path):
    torch.manual_seed(0)
    model, x = fill(timm.create_model("lsnet_t", **SHORT).double()), image(224, 224)
    features, other = model.forward_head(model.forward_features(x), pre_logits=True), torch.nn.Module()
    other.bn, other.l = torch.nn.BatchNorm1d(384).double().eval(), torch.nn.Linear(384, 1000).double()
    for value in other.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    expected = (model(x) + other.l(other.bn(features))) / 2
    second = {f"head_dist.{name}": value for name, value in other.state_dict().items()}
    torch.save({"model": {**model.state_dict(), **second}}, tmp_path / "lsnet_t_distill.pth")
    overlay = {"file": str(tmp_path / "lsnet_t_distill.pth")}
    options = {"dtype": torch.float64, **SHORT}
    loaded = timm.create_model("lsnet_t", pretrained=True, pretrained_cfg_overlay=overlay, **options)
    torch.testing.assert_close(loaded.eval()(x), expected)
    assert torch.equal(loaded.head.bn.running_var, model.head.bn.running_var)


@pytest.mark.slow
@torch.no_grad()
def test_networks_are_traced_and_exported():
    model, x = timm.create_model("lsnet_t", num_classes=5, **SHORT).eval(), torch.randn(1, 3, 129, 160)
    _, nodes = get_graph_node_names(model)
    *_, traced = create_feature_extractor(model, nodes)(x).values()
    expected = model(x)
    torch.testing.assert_close(traced, expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)


@pytest.mark.slow
def test_compiles_forward_and_backward_without_graph_breaks():
    torch.manual_seed(0)
    model, x = timm.create_model("lsnet_t", num_classes=5, **SHORT), torch.randn(2, 3, 64, 96)
    model(x).sum().backward()
    expected = model.blocks3[3].mixer.lkp.cv4.weight.grad.clone()
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(x).sum().backward()
    torch.testing.assert_close(model.blocks3[3].mixer.lkp.cv4.weight.grad, expected, rtol=1e-3, atol=1e-4)
