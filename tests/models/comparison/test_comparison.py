"""The networks of the comparison: in timm's registry, differentiable, with the features that timm promises."""

import sys

import pytest
import timm
import torch
from timm.layers import create_feature_extractor, get_graph_node_names
from timm.optim import param_groups_weight_decay
from torch import nn

from involution.models import comparison
from involution.models.comparison.axial_resnet import AxialResNet
from involution.models.comparison.conv_resnet import resnet
from involution.models.comparison.inverted_rednet import InvertedRedNet
from involution.models.comparison.lrnet import local_relation_net
from involution.models.comparison.san import SAN
from involution.models.rednet import RedNet

SMALLEST = {
    "resnet26_conv": [256, 512, 1024, 2048],
    "rednet26_depthwise": [256, 512, 1024, 2048],
    "rednet26_inverted": [84, 168, 336, 2688],
    "resnet26_standalone": [256, 512, 1024, 2048],
    "lrnet26": [256, 512, 1024, 2048],
    "san10_pairwise": [256, 512, 1024, 2048],
    "san10_patchwise": [256, 512, 1024, 2048],
    "aa_resnet50": [256, 512, 1024, 2048],
    "axial_resnet_s": [128, 256, 512, 1024],
}
DEPTHS = (26, 38, 50, 101, 152)
NAMES = [
    *(
        f"{family}{depth}_{mixer}"
        for depth in DEPTHS
        for family, mixer in [("resnet", "conv"), ("rednet", "depthwise")]
    ),
    *(f"rednet{depth}_inverted" for depth in DEPTHS),
    *(f"resnet{depth}_standalone" for depth in (26, 38, 50)),
    *(f"lrnet{depth}" for depth in (26, 50, 101)),
    *(f"san{depth}_{attention}" for depth in (10, 15, 19) for attention in ("pairwise", "patchwise")),
    *(f"aa_resnet{depth}" for depth in (50, 101, 152)),
    *(f"axial_resnet_{size}" for size in "sml"),
]


def on_meta(name, **kwargs):
    return timm.create_model(name, device="meta", **kwargs)


def image(height, width, **kwargs):
    torch.manual_seed(0)
    return torch.randn(1, 3, height, width, **kwargs)


def test_the_registry_knows_them_all():
    modules = comparison.__all__
    assert set(timm.list_models(module=modules)) == set(NAMES)
    assert all(callable(getattr(sys.modules[timm.model_entrypoint(name).__module__], name)) for name in NAMES)
    assert all(timm.get_pretrained_cfg(name).first_conv for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_every_network_is_shaped_and_differentiable_at_224(name):
    model = on_meta(name)
    model(image(224, 224, device="meta")).sum().backward()
    assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).weight.shape[1] == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_forward_and_backward_are_finite_on_an_odd_size(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5)
    y = model(image(129, 143))
    assert y.shape == (1, 5)
    y.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "channels"), SMALLEST.items())
def test_features_have_strides_4_to_32(name, channels):
    model = on_meta(name, features_only=True)
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    assert model.feature_info.channels() == channels
    for feature, width, reduction in zip(model(image(224, 160, device="meta")), channels, (4, 8, 16, 32), strict=True):
        assert feature.shape == (1, width, 224 // reduction, 160 // reduction)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_the_interface_of_timm(name):
    model = on_meta(name, in_chans=1, drop_rate=0.1, drop_path_rate=0.1)
    x = torch.empty(2, 1, 160, 160, device="meta")
    last, (second,) = model.forward_intermediates(x, indices=[1])
    assert last.shape[2:] == (5, 5)
    assert second.shape[2:] == (20, 20)
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, model.num_features)
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)
    model.set_grad_checkpointing()
    model(x).sum().backward()
    assert on_meta(name, num_classes=0, in_chans=1)(x).shape == (2, model.num_features)


@pytest.mark.parametrize(
    "name", ["resnet26_conv", "rednet26_depthwise", "resnet26_standalone", "lrnet26", "aa_resnet50"]
)
def test_the_trunk_dilates_every_mixer(name):
    model = on_meta(name, features_only=True, output_stride=8)
    assert model.feature_info.reduction() == [4, 8, 8, 8]
    assert model(image(65, 97, device="meta"))[-1].shape == (1, 2048, 9, 13)


def test_resnet_is_timms_where_their_plans_agree():
    ours, theirs = timm.create_model("resnet50_conv").eval(), timm.create_model("resnet50").eval()
    weights = [value for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")]
    names = [key for key in ours.state_dict() if not key.endswith("num_batches_tracked")]
    ours.load_state_dict(dict(zip(names, weights, strict=True)), strict=False)
    x = image(65, 80)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("name", "stem", "first"),
    [
        ("resnet26_conv", "deep", (32, 3, 3, 3)),
        ("rednet26_depthwise", "conv", (64, 3, 7, 7)),
        ("resnet26_standalone", "conv", (64, 3, 7, 7)),
        ("lrnet26", "deep", (32, 3, 3, 3)),
        ("aa_resnet50", "deep", (32, 3, 3, 3)),
        ("rednet26", "conv", (64, 3, 7, 7)),
        ("rednet26", "deep", (32, 3, 3, 3)),
    ],
)
def test_stems_are_exchangeable(name, stem, first):
    model = on_meta(name, stem=stem)
    assert next(model.stem.parameters()).shape == first
    assert model(image(64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("name", ["resnet26_conv", "resnet26_standalone", "lrnet26", "rednet26_depthwise"])
def test_stems_reduce_less_for_small_images(name, stem_stride):
    model = on_meta(name, stem_stride=stem_stride)
    features = model.forward_intermediates(image(33, 32, device="meta"), indices=[0], intermediates_only=True)
    assert features[0].shape[2:] == (-(-33 // stem_stride), 32 // stem_stride)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALLEST, "rednet26"])
@torch.no_grad()
def test_networks_are_traced_and_scripted_as_in_timms_tests(name):
    model, x = timm.create_model(name, num_classes=5).eval(), image(129, 160)
    _, nodes = get_graph_node_names(model)
    *_, traced = create_feature_extractor(model, nodes)(x).values()
    expected = model(x)
    torch.testing.assert_close(traced, expected)
    torch.testing.assert_close(torch.jit.script(model)(x), expected)


@pytest.mark.parametrize("name", ["san10_pairwise", "san10_patchwise"])
def test_the_smallest_image_of_san_is_known(name):
    least = timm.get_pretrained_cfg(name).min_input_size
    assert on_meta(name)(torch.empty(1, *least, device="meta")).shape == (1, 1000)
    with pytest.raises(ValueError, match="expected more than 3 pixels per axis to reflect"):
        on_meta(name)(torch.empty(1, 3, least[1] - 1, least[2], device="meta"))


def test_tables_of_positions_are_not_decayed():
    model = on_meta("resnet26_standalone")
    undecayed = model.no_weight_decay()
    assert {name.rpartition(".")[2] for name in undecayed} == {"rows", "columns", "mixtures"}
    groups = param_groups_weight_decay(model, 0.05, no_weight_decay_list=undecayed)
    assert {len(p.shape) for p in groups[1]["params"]} >= {4} and groups[1]["weight_decay"] == 0.05
    names = {id(p): name for name, p in model.named_parameters()}
    assert undecayed <= {names[id(p)] for p in groups[0]["params"]}
    assert on_meta("rednet26").no_weight_decay() == set()


def test_axial_networks_see_whole_axes_where_these_are_short():
    """Compact tables: 15 rows on long axes, 2·14 − 1 and 2·7 − 1 where an axis of the 224-pixel network is shorter."""
    rows = {m.for_query.shape[0] for m in on_meta("axial_resnet_s").modules() if hasattr(m, "for_query")}
    assert rows == {15, 27, 13}


def test_attention_augmentation_starts_at_the_second_stage():
    model = on_meta("aa_resnet50")
    assert isinstance(model.layer1[0].conv2, nn.Conv2d)
    tables = [stage[1].conv2.rows.shape for stage in (model.layer2, model.layer3, model.layer4)]
    assert tables == [(27, 20), (27, 20), (13, 20)]


@pytest.mark.parametrize(
    ("network", "kwargs", "message"),
    [
        (resnet, {"depth": 50, "stem": "standalone"}, r"stem: expected one of \['conv', 'deep'\], got 'standalone'"),
        (local_relation_net, {"depth": 26, "stem": "x"}, r"stem: expected .*'local_relation'\], got 'x'"),
        (resnet, {"depth": 26, "stem_stride": 3}, "stem_stride: expected 1, 2 or 4, got 3"),
        (resnet, {"depth": 18}, r"depth: expected one of \[26, 38, 50, 101, 152\], got 18"),
        (local_relation_net, {"depth": 38}, r"depth: expected one of \[26, 50, 101\], got 38"),
        (SAN, {"attention": "dense"}, r"attention: expected one of \['pairwise', 'patchwise'\], got 'dense'"),
        (SAN, {"depth": 50}, r"depth: expected one of \[10, 15, 19\], got 50"),
        (InvertedRedNet, {"depth": 18}, "depth: expected one of"),
        (AxialResNet, {"multiplier": 0.3}, "heads: expected a divisor of the 9 channels, got 8"),
        (RedNet, {"group_channels": "all"}, "group_channels: expected an int or \"C\", got 'all'"),
        (RedNet, {"reduction_ratio": "V"}, "reduction_ratio: expected an int, \"W\" or None, got 'V'"),
    ],
)
def test_errors(network, kwargs, message):
    with pytest.raises(ValueError, match=message):
        network(**kwargs, device="meta")
