"""`width_factor` of the networks: all widths, nothing else, and only factors that keep the groups whole."""

import pytest
import timm
import torch

from involution.models import prepare
from involution.models.recognition import recognize, restore
from involution.models.skeleton.stages import scale_widths

NAMES = [
    "rednet26",
    "resnet26_conv",
    "rednet26_depthwise",
    "rednet26_inverted",
    "resnet26_standalone",
]
"""Networks whose mixers have no widths of their own."""


def shapes(name, **options):
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in timm.create_model(name, **options).state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_factor_scales_every_width(name):
    whole, half = shapes(name), shapes(name, width_factor=0.5)
    assert shapes(name, width_factor=1.0) == whole
    assert half.keys() == whole.keys()
    for key, shape in whole.items():
        assert all(2 * h == w or h == w for h, w in zip(half[key], shape, strict=True)), key
    assert half["fc.weight"] == (1000, whole["fc.weight"][1] // 2)


@pytest.mark.parametrize("name", ["rednet26", "lrnet26", "san10_pairwise"])
def test_features_have_the_scaled_widths(name):
    with torch.device("meta"):
        model = timm.create_model(name, width_factor=0.5, features_only=True)
        features = model(torch.rand(1, 3, 128, 128))
    assert [f.shape[1] for f in features] == model.feature_info.channels() == [128, 256, 512, 1024]


def test_an_attention_that_is_too_narrow_says_so():
    with pytest.raises(ValueError, match="channels: expected at least 80 for 8 heads, got 64"):
        timm.create_model("aa_resnet50", width_factor=0.5, device="meta")
    assert timm.create_model("aa_resnet50", width_factor=1.5, device="meta").num_features == 3072


@pytest.mark.parametrize("name", ["rednet26", "rednet26_inverted", "san10_pairwise"])
@pytest.mark.parametrize("factor", [0, -0.5, 0.25, 0.7])
def test_other_factors_are_refused(name, factor):
    with pytest.raises(ValueError, match=f"width_factor: expected a positive multiple of 0.5, got {factor}"):
        timm.create_model(name, width_factor=factor, device="meta")


def test_widths_are_whole_numbers():
    with pytest.raises(ValueError, match=r"width_factor: expected whole numbers of channels, got 0\.5 times 7"):
        scale_widths([8, 7], 0.5)


def test_weights_of_half_the_width_are_recognized():
    torch.manual_seed(0)
    network = timm.create_model("rednet26", width_factor=0.5, num_classes=7, stem_kernel_size=7).eval()
    name, options = recognize(network.state_dict())
    assert (name, options) == (
        "rednet26",
        {"width_factor": 0.5, "in_chans": 3, "num_classes": 7, "stem_kernel_size": 7},
    )
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(restore(network.state_dict(), "x")[0].eval()(x), network(x))


def test_a_network_of_half_the_width_is_prepared():
    torch.manual_seed(0)
    network = timm.create_model("rednet26", width_factor=0.5, num_classes=7).eval()
    x = torch.rand(2, 3, 33, 40)
    torch.testing.assert_close(prepare(network)(x), network(x), rtol=1e-3, atol=1e-5)


def test_a_generator_without_norm():
    with torch.device("meta"):
        network = timm.create_model("rednet26", generator_norm=False)
    names = [name for name in network.state_dict() if "conv2.conv1" in name]
    assert names and not [name for name in names if ".bn." in name]
    assert network.layer1[0].conv2.conv1.conv.bias is not None
