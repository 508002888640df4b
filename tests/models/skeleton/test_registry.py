"""All networks that `involution.models` registers in timm implement timm's interface."""

import pytest
import timm
import torch
from timm.models import is_model

import involution.models

NAMES = sorted(name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith("involution."))
FAMILIES = [
    name for name in NAMES if name.startswith(("san10", "axial_resnet_s")) or "26" in name or name == "aa_resnet50"
]
REDNETS = [f"rednet{depth}" for depth in (26, 38, 50, 101, 152)]


def test_the_networks_are_found():
    assert set(REDNETS) <= set(NAMES)
    assert len(FAMILIES) == 10
    assert involution.models.RedNet


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_configuration_names_what_is_there(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    entries, cfg = model.state_dict(), model.pretrained_cfg
    assert cfg["classifier"] + ".weight" in entries
    assert cfg["first_conv"] + ".weight" in entries
    assert model.get_classifier() is model.get_submodule(cfg["classifier"])
    assert model.get_classifier(name_only=True) == cfg["classifier"]
    model.reset_classifier(0)
    assert model(torch.rand(2, 3, 224, 224, device="meta")).shape == (2, model.num_features)
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert sum(len(members) for members in groups.values()) == len(dict(model.named_parameters()))
    assert is_model(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_features_of_four_strides(name):
    with torch.device("meta"):
        model = timm.create_model(name, features_only=True)
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    features = model(torch.rand(1, 3, 224, 224, device="meta"))
    assert [f.shape[1] for f in features] == model.feature_info.channels()
    assert [f.shape[2] for f in features] == [56, 28, 14, 7]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rednet26"])
def test_options_of_the_rednets(name):
    x = torch.rand(2, 1, 224, 160, device="meta")
    with torch.device("meta"):
        for output_stride in (8, 16):
            model = timm.create_model(
                name, features_only=True, out_indices=(1, 3), output_stride=output_stride, in_chans=1
            )
            assert model.feature_info.reduction() == [8, output_stride]
            assert [f.shape[2] for f in model(x)] == [28, 224 // output_stride]
        model = timm.create_model(
            name, in_chans=1, num_classes=0, drop_path_rate=0.2, stem_kernel_size=7, drop_rate=0.1
        )
        assert model(x).shape == (2, 2048)
        rates = [m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"]
        assert rates == sorted(rates) and rates[-1] == pytest.approx(0.2)
        model.reset_classifier(12, "max")
        assert model(x).shape == (2, 12)
        final, intermediates = model.forward_intermediates(x, indices=[0, 2])
        assert [tuple(f.shape) for f in intermediates] == [(2, 256, 56, 40), (2, 1024, 14, 10)]
        assert final.shape == (2, 2048, 7, 5)
        assert model.prune_intermediate_layers(indices=[1]) == [1]
        only = model.forward_intermediates(x, indices=[1], stop_early=True, intermediates_only=True)
        assert [tuple(f.shape) for f in only] == [(2, 512, 28, 20)]
        small = timm.create_model(name, features_only=True, stem_stride=1)
        assert small.feature_info.reduction() == [1, 2, 4, 8]
        assert [f.shape[2] for f in small(torch.rand(1, 3, 32, 32, device="meta"))] == [32, 16, 8, 4]


@pytest.mark.parametrize("name", ["rednet26", "rednet50"])
def test_every_parameter_of_the_rednets_gets_a_gradient(name):
    model = timm.create_model(name, num_classes=5)
    x = torch.randn(2, 3, 64, 48)
    y = model(x)
    assert y.shape == (2, 5) and y.isfinite().all()
    y.square().mean().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing


def test_a_new_classifier_has_todays_device_and_dtype():
    model = timm.create_model("rednet26", num_classes=5).double()
    model.reset_classifier(3)
    assert model.fc.weight.dtype == torch.float64
    moved = model.to("meta")
    moved.reset_classifier(4, "max")
    assert moved.fc.weight.device.type == "meta"


def test_checkpointing_changes_nothing():
    model, x = timm.create_model("rednet26", num_classes=5), torch.randn(2, 3, 64, 64)
    grads = []
    for enable in (False, True):
        torch.manual_seed(0)
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(x).square().sum().backward()
        grads.append(model.stem[0].conv.weight.grad.clone())
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@torch.no_grad()
def test_the_rednet_scripts_and_traces():
    from timm.models import FeatureGraphNet

    model, x = timm.create_model("rednet26", num_classes=5).eval(), torch.randn(1, 3, 65, 40)
    torch.testing.assert_close(torch.jit.script(model)(x), model(x))
    graph = FeatureGraphNet(model, out_indices=(0, 3))
    torch.testing.assert_close(graph(x)[1], model.forward_features(x))
