import pytest
import timm
import torch
from torch import nn

from involution.models.pyramid.backbones import Backbone, create_backbone
from involution.models.pyramid.fpn import ExtraConvolutions, FeaturePyramid, LastLevelMaxPool


@pytest.mark.parametrize("name", ["rednet26", "resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_maps_of_ours_and_of_timms(name):
    options = {"img_size": (64, 96)} if name.startswith("swin") else {}
    backbone = create_backbone(name, **options).eval()
    maps = backbone(torch.rand(1, 3, 64, 96))
    expected = [(1, c, 64 // stride, 96 // stride) for c, stride in zip(backbone.channels, (4, 8, 16, 32), strict=True)]
    assert [tuple(y.shape) for y in maps] == expected
    assert backbone.reductions == [4, 8, 16, 32]


def test_rednets_have_the_stem_of_the_released_detectors():
    assert create_backbone("rednet26").body.stem[1].kernel_size == [7, 7]
    assert create_backbone("rednet26", stem_kernel_size=3).body.stem[1].kernel_size == [3, 3]


FROZEN = {
    "rednet26": ["stem", "layer1"],
    "resnet18": ["conv1", "bn1", "layer1"],
    "convnext_atto": ["stem_0", "stem_1", "stages_0"],
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_are_the_stem_and_the_first_stage(name):
    backbone = Backbone(name, frozen_stages=1)
    frozen = {n.split(".")[0] for n, p in backbone.body.named_parameters() if not p.requires_grad}
    trained = {n.split(".")[0] for n, p in backbone.body.named_parameters() if p.requires_grad}
    assert frozen == set(FROZEN[name])
    assert not frozen & trained
    modes = {n.split(".")[0]: m.training for n, m in backbone.body.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert modes == {part: part not in frozen for part in modes}


def test_the_stem_alone_nothing_or_everything_is_frozen():
    parts = [
        {n.split(".")[0] for n, p in Backbone("resnet18", frozen_stages=n).body.named_parameters() if p.requires_grad}
        for n in (-1, 0, 4)
    ]
    layers = {"layer1", "layer2", "layer3", "layer4"}
    assert parts == [{"conv1", "bn1"} | layers, layers, set()]


def test_norms_of_the_backbone_keep_their_statistics_and_learn():
    backbone = Backbone("rednet26", norm_eval=True)
    before = {n: b.clone() for n, b in backbone.named_buffers()}
    sum(y.sum() for y in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert all(torch.equal(b, before[n]) for n, b in backbone.named_buffers())
    assert backbone.body.layer2[0].bn1.weight.grad is not None
    assert not backbone.body.layer2[0].bn1.training
    assert not backbone.body.layer2[0].conv2.conv1.bn.training  # of an involution


def test_weights_of_a_classifier_that_was_trained_here(tmp_path):
    classifier = timm.create_model("rednet26", stem_kernel_size=7, num_classes=10)
    weights = {f"net.{name}": value for name, value in classifier.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {}}, tmp_path / "best.ckpt")
    backbone = create_backbone("rednet26", weights=tmp_path / "best.ckpt", frozen_stages=1)
    learned = classifier.state_dict()
    assert all(torch.equal(value, learned[name]) for name, value in backbone.body.state_dict().items())


def test_stages_are_chosen():
    backbone = Backbone("resnet18", out_indices=(1, 3), frozen_stages=1)
    assert backbone.reductions == [8, 32]
    assert not backbone.body.layer1[0].conv1.weight.requires_grad
    assert backbone.body.layer2[0].conv1.weight.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "rednet27"},
            "backbone: expected a network of timm's registry, got 'rednet27'; close matches: .*rednet2",
        ),
        ({"name": "resnet18", "pretrained": True}, "backbone: expected arguments of the architecture, got pretrained;"),
        ({"name": "resnet18", "weights": "gone.pt"}, "weights: expected a file, got gone.pt, which does not exist"),
        ({"name": "rednet26", "weights": "DEFAULT"}, "weights: expected weights of rednet26, got DEFAULT"),
        ({"name": "resnet18", "out_indices": (4,)}, r"out_indices: expected stages from 0 to 3, got \(4,\)"),
        ({"name": "resnet18", "frozen_stages": 5}, "frozen_stages: expected -1 to 4, got 5"),
        (
            {"name": "resnet18", "stem": 3},
            "backbone: expected a network with four stages that takes {'stem': 3}, got resnet18",
        ),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_backbone(**arguments)


@pytest.fixture(scope="module")
def file_of_weights(tmp_path_factory):
    """A function that saves the state dict of test_resnet with changes and returns the path."""

    def save(**changes):
        state = timm.create_model("test_resnet").state_dict()
        state |= {name.replace("__", "."): value for name, value in changes.items()}
        path = tmp_path_factory.mktemp("weights") / "weights.pt"
        torch.save({name: value for name, value in state.items() if value is not None}, path)
        return path

    return save


def test_weights_of_timms_networks_load_completely(file_of_weights):
    path = file_of_weights()
    backbone = create_backbone("test_resnet", weights=path)
    saved = torch.load(path)
    assert all(torch.equal(value, saved[name]) for name, value in backbone.body.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer1__0__conv1__weight": None}, r"in which 1 differ: layer1\.0\.conv1\.weight is missing$"),
        ({"layer9__weight": torch.zeros(1)}, r"in which 1 differ: layer9\.weight is unexpected$"),
        ({"layer2__0__bn1__bias": torch.zeros(3)}, r"in which 1 differ: layer2\.0\.bn1\.bias is \(3,\), not \("),
    ],
)
def test_weights_that_do_not_match_completely_are_an_error(file_of_weights, changes, message):
    with pytest.raises(
        ValueError, match=r"weights: expected all weights of test_resnet, got .*weights\.pt, " + message
    ):
        create_backbone("test_resnet", weights=file_of_weights(**changes))


def test_a_file_of_other_names_is_an_error(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(
        ValueError, match=r"weights: expected all weights of rednet26, got .*other\.pt, in which .* differ"
    ):
        create_backbone("rednet26", weights=tmp_path / "other.pt")


@pytest.mark.parametrize("frozen", [{"frozen_stages": 0}, {"frozen_stages": 1}, {"norm_eval": True}])
def test_random_weights_are_not_frozen(frozen):
    with pytest.raises(ValueError, match="weights: expected a file or DEFAULT for a backbone with frozen_stages="):
        create_backbone("test_resnet", **frozen)
    assert Backbone("test_resnet", **frozen)


@pytest.mark.parametrize("neck", ["convolution", "involution"])
def test_the_pyramid_is_the_formula(neck):
    torch.manual_seed(0)
    pyramid = FeaturePyramid([8, 16, 32], 16, neck).double().eval()
    maps = [torch.rand(1, c, s, s + 1, dtype=torch.float64) for c, s in ((8, 12), (16, 6), (32, 3))]
    lateral = [block[0](x) for block, x in zip(pyramid.inner_blocks, maps, strict=True)]
    for finer, coarser in ((1, 2), (0, 1)):
        size = lateral[finer].shape[2:]
        rows, columns = (torch.arange(n) * o // n for n, o in zip(size, lateral[coarser].shape[2:], strict=True))
        lateral[finer] = lateral[finer] + lateral[coarser][:, :, rows][:, :, :, columns]
    for y, block, x in zip(pyramid(maps), pyramid.layer_blocks, lateral, strict=True):
        torch.testing.assert_close(y, block[0](x), atol=1e-12, rtol=0)


def test_extra_levels():
    maps = [torch.rand(1, c, s, s) for c, s in ((8, 16), (16, 8))]
    *_, pooled = FeaturePyramid([8, 16], 16, extra_levels=LastLevelMaxPool())(maps)
    assert pooled.shape == (1, 16, 4, 4)
    pyramid = FeaturePyramid([8, 16], 16, extra_levels=ExtraConvolutions(16, 16))
    *_, p6, p7 = pyramid(maps)
    first, second = pyramid.extra_blocks.convs
    torch.testing.assert_close(p6, first(maps[1]))
    torch.testing.assert_close(p7, second(first(maps[1])))  # without a ReLU between


def test_the_pyramid_starts_as_xaviers():
    torch.manual_seed(0)
    for layer in FeaturePyramid([256], 64, "involution").modules():
        if isinstance(layer, nn.Conv2d):
            bound = (6 / (layer.in_channels + layer.out_channels)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert layer.bias is None or not layer.bias.any()


def test_there_is_no_third_neck():
    with pytest.raises(ValueError, match="neck: expected one of convolution, involution, got 'attention'"):
        FeaturePyramid([8], 16, "attention")
