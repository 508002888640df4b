"""RedNet: published values, every size, weights of the released checkpoints."""

import math

import pytest
import timm
import torch
from sines import fill, image

import involution.models  # noqa: F401  (registers the networks)

DEPTHS = (26, 38, 50, 101, 152)
ENTRIES = {26: 251, 38: 351, 50: 451, 101: 876, 152: 1301}


# Sums of stem output, stage 1, pooled features and logits, and the first four logits: the official classifier, float64.
CLASSIFIERS = [
    (
        ("rednet26", 64, 64),
        (1.3137922560e03, 1.2407450442e03, 8.2360910939e01, -2.4280258734e-02),
        (-0.13663239944, 0.40851407204, -0.38391999406, 0.22104184767),
    ),
    (
        ("rednet26", 96, 64),
        (4.1200887711e03, 3.3964876532e03, 8.1507753612e01, -2.5589202528e-02),
        (-0.13406256188, 0.40450782909, -0.38004477353, 0.21881381533),
    ),
    (
        ("rednet50", 64, 64),
        (1.3137922560e03, 1.5494123466e03, 2.1048196171e02, 3.9410461596e-01),
        (-0.022799930580, 0.10006258630, -0.27199037935, 0.32865279710),
    ),
    (
        ("rednet50", 224, 224),
        (3.9195013463e04, 3.3985807931e04, 2.1271875216e02, 3.8267605243e-01),
        (-0.034422054635, 0.10266532224, -0.26455541630, 0.31408903701),
    ),
]


@torch.no_grad()
@pytest.mark.parametrize(("case", "sums", "logits"), CLASSIFIERS, ids=str)
def test_published_values_of_the_classifiers(case, sums, logits):
    name, height, width = case
    model, x = fill(timm.create_model(name).double()), image(height, width)
    stem = model.stem(x)
    first = model.layer1(model.maxpool(stem))
    pooled = model.forward_head(model.forward_features(x), pre_logits=True)
    out = model(x)
    got = torch.stack([value.sum() for value in (stem, first, pooled, out)])
    torch.testing.assert_close(got, torch.tensor(sums, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out[0, :4], torch.tensor(logits, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    single = model.float()(x.float())
    torch.testing.assert_close(single.double(), out, rtol=0, atol=1e-4)


# Sums of the four stages on a 64x96 image: the official backbone of detectors and segmentors, float64.
BACKBONES = {
    "rednet26": (1.0575130515e03, 1.9567082894e03, 1.8911405871e03, 5.2525596938e02),
    "rednet50": (1.9504456806e03, 2.7713699500e03, 2.9625217985e03, 1.2875590931e03),
}


@torch.no_grad()
@pytest.mark.parametrize("name", BACKBONES)
def test_published_values_of_the_backbones(name):
    model = fill(timm.create_model(name, features_only=True, stem_kernel_size=7).double())
    got = torch.stack([stage.sum() for stage in model(image(64, 96))])
    torch.testing.assert_close(got, torch.tensor(BACKBONES[name], dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("size", [(224, 224), (225, 199), (33, 47), (512, 1024)], ids=str)
def test_every_size_agrees_with_float64(size):
    model, x = fill(timm.create_model("rednet50").double()), torch.randn(1, 3, *size, dtype=torch.float64)
    expected = model(x)
    torch.testing.assert_close(model.float()(x.float()).double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("depth", DEPTHS)
def test_names_and_shapes_are_those_of_the_released_weights(depth):
    with torch.device("meta"):
        entries = timm.create_model(f"rednet{depth}").state_dict()
    assert len(entries) == ENTRIES[depth]
    names = list(entries)
    block = ["conv1.weight", "bn1.weight"], ["conv2.conv1.conv.weight", "conv2.conv1.bn.weight"]
    assert names.index(f"layer1.0.{block[0][0]}") < names.index(f"layer1.0.{block[1][0]}")
    assert entries["stem.1.conv2.conv.weight"].shape == (18, 8, 1, 1)
    assert entries["layer4.0.conv2.conv2.conv.weight"].shape == (1568, 128, 1, 1)
    assert entries["layer3.0.downsample.0.weight"].shape == (1024, 512, 1, 1)


@pytest.mark.slow
def test_released_weights_load(tmp_path):
    model = fill(timm.create_model("rednet26").double())
    official = {
        ("head." if name.startswith("fc") else "backbone.") + name: value for name, value in model.state_dict().items()
    }
    torch.save({"meta": {}, "state_dict": official}, tmp_path / "rednet26.pth")
    overlay = {"file": str(tmp_path / "rednet26.pth")}
    loaded = timm.create_model("rednet26", pretrained=True, pretrained_cfg_overlay=overlay)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name].to(value.dtype), value, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="stem_kernel_size: expected 3, the stem of this checkpoint, got 7"):
        timm.create_model("rednet26", pretrained=True, pretrained_cfg_overlay=overlay, stem_kernel_size=7)


def test_initialization():
    model = timm.create_model("rednet26")
    assert not any(block.bn3.weight.any() for block in model.layer3)
    assert model.layer1[0].conv2.conv2.conv.weight.std().item() == pytest.approx(math.sqrt(2 / 196), rel=0.05)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not model.fc.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 4}, "output_stride: expected 8, 16 or 32, got 4"),
        ({"stem_stride": 8}, "stem_stride: expected 1, 2 or 4, got 8"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("rednet26", **options)


@pytest.mark.slow
@torch.no_grad()
def test_exports():
    model, x = timm.create_model("rednet50", num_classes=7).eval(), torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


@pytest.mark.slow
def test_compiles_forward_and_backward_without_graph_breaks():
    model, x = timm.create_model("rednet26", num_classes=5), torch.randn(2, 3, 48, 48)
    model(x).sum().backward()
    expected = model.stem[1].conv2.conv.weight.grad.clone()
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(x).sum().backward()
    torch.testing.assert_close(model.stem[1].conv2.conv.weight.grad, expected, rtol=1e-3, atol=1e-4)
