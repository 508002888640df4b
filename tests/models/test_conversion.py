"""Official names to ours and back, bit for bit; the golden logits through a file in the official format."""

import json
import math
import pickle

import pytest
import timm
import torch

from involution.models.conversion import convert
from involution.models.counting.complexity import build
from involution.models.recognition import recognize, restore
from involution.weights import read_weights, to_official, to_ours

NETWORKS = {
    **{f"rednet{depth}": {} for depth in (26, 38, 50, 101, 152)},
    "mask_rcnn/rednet26/involution/involution": {"num_classes": 5},
    "mask_rcnn/rednet50": {},
    "faster_rcnn/rednet26/involution/convolution": {},
    "retinanet/rednet26/involution": {},
    "retinanet/rednet38": {"num_classes": 4},
    "semantic_fpn/rednet26/involution": {},
    "semantic_fpn/rednet50": {"head_channels": 64},
    "upernet/rednet26": {"channels": 32, "auxiliary_channels": 16},
}


def random(network):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randint(9, (), generator=generator) if value.dtype == torch.int64
        else torch.rand(value.shape, generator=generator)
        for name, value in network.state_dict().items()
    }  # fmt: skip


def same(ours, theirs):
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


# Stems as released, and each kernel size in the other kind of network.
STEMS = [*((name, 7 if "/" in name else 3) for name in NETWORKS), ("rednet26", 7), ("retinanet/rednet38", 3)]


@pytest.mark.parametrize(("name", "stem"), STEMS)
def test_round_trip(name, stem):
    """Names and values in memory; shapes and options are derived from them."""
    network = build(name, stem_kernel_size=stem, **NETWORKS[name])
    weights = random(network)
    official = to_official(weights).weights
    assert official.keys() != weights.keys()
    back = to_ours(official)
    assert back.release == "official"
    assert same(back.weights, weights)
    recognized, options = recognize(back.weights)
    assert recognized.startswith(name)
    assert options["stem_kernel_size"] == stem
    assert all(options[key] == value for key, value in NETWORKS[name].items())
    assert [*build(recognized, **options).state_dict()] == [*weights]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rednet26", "mask_rcnn/rednet26/involution/involution", "semantic_fpn/rednet26"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_round_trip_through_files(tmp_path, name, ending):
    weights = random(build(name))
    torch.save({f"net.{key}": value for key, value in weights.items()}, tmp_path / "fit.pt")
    report = convert(tmp_path / "fit.pt", tmp_path / f"official.{ending}", "official")
    assert (report["from"], report["to"], report["notes"][0][:27]) == (
        "involution",
        "official",
        "the involution of the stem ",
    )
    assert read_weights(tmp_path / f"official.{ending}").weights.keys() == to_official(weights).weights.keys()
    report = convert(tmp_path / f"official.{ending}", tmp_path / "ours.safetensors")
    assert report["from"] == "official"
    assert {key["to"] for key in report["keys"]} == weights.keys()
    ours = read_weights(tmp_path / "ours.safetensors").weights
    assert ours.keys() == weights.keys()
    assert all(torch.equal(ours[key], weights[key]) for key in weights)
    assert json.loads(json.dumps(report)) == report


def test_names_of_the_release():
    """A name of every part of the released networks, as mmdet and mmseg instantiate them."""
    table = {
        "mask_rcnn/rednet26/involution/involution": {
            "backbone.layer1.0.conv2.conv1.bn.running_mean": "backbone.body.body.layer1.0.conv2.conv1.bn.running_mean",
            "neck.lateral_convs.3.conv.bias": "backbone.fpn.inner_blocks.3.0.bias",
            "neck.fpn_convs.0.conv2.conv.weight": "backbone.fpn.layer_blocks.0.0.conv2.conv.weight",
            "rpn_head.rpn_conv.conv1.conv.weight": "rpn.head.conv.conv1.conv.weight",
            "roi_head.mask_head.convs.3.0.conv1.bn.bias": "roi_heads.mask_head.6.conv1.bn.bias",
            "roi_head.mask_head.conv_logits.weight": "roi_heads.mask_predictor.mask_fcn_logits.weight",
            "roi_head.bbox_head.shared_fcs.1.bias": "roi_heads.box_head.fc7.bias",
        },
        "mask_rcnn/rednet26": {
            "neck.fpn_convs.2.conv.weight": "backbone.fpn.layer_blocks.2.0.weight",
            "rpn_head.rpn_conv.weight": "rpn.head.conv.weight",
            "roi_head.mask_head.convs.1.conv.bias": "roi_heads.mask_head.2.bias",
        },
        "retinanet/rednet26": {
            "neck.fpn_convs.3.conv.weight": "backbone.fpn.extra_blocks.convs.0.weight",
            "bbox_head.reg_convs.2.conv.weight": "head.regression_head.conv.2.0.weight",
        },
        "semantic_fpn/rednet26": {
            "neck.fpn_convs.1.conv.bias": "neck.layer_blocks.1.0.bias",
            "decode_head.scale_heads.3.4.bn.weight": "decode_head.scale_heads.3.4.bn.weight",
        },
    }
    for name, pairs in table.items():
        ours = to_official(build(name).state_dict()).sources
        assert {official: ours[official] for official in pairs} == pairs


def test_the_background_is_the_last_class_of_mmdet():
    weights = random(build("faster_rcnn/rednet26"))
    name = "roi_heads.box_predictor.cls_score.bias"
    official = to_official(weights).weights["roi_head.bbox_head.fc_cls.bias"]
    assert torch.equal(official[-1], weights[name][0])
    assert torch.equal(official[:-1], weights[name][1:])


def fill(weights):
    """The rule of the golden values, over the entries in their official order."""
    for i, (name, value) in enumerate(weights.items()):
        if name.endswith("num_batches_tracked"):
            continue
        w = torch.sin(0.37 * torch.arange(value.numel(), dtype=torch.float64) + 0.11 * i).reshape(value.shape)
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            weights[name] = 1 + 0.1 * w
        else:
            weights[name] = 0.1 * w if value.ndim == 1 else w * math.sqrt(2 * value.shape[0] / value.numel())
    return weights


LOGITS = {
    "rednet26": [-0.13663239944, 0.40851407204, -0.38391999406, 0.22104184767],
    "rednet50": [-0.022799930580, 0.10006258630, -0.27199037935, 0.32865279710],
}


def official_file(path, name):
    weights = fill(to_official(timm.create_model(name).double().state_dict()).weights)
    torch.save({"meta": {"mmcls_version": "0.6.0", "CLASSES": ("tench",)}, "state_dict": weights}, path)
    return weights


def image():
    h, w, c = (torch.arange(n, dtype=torch.float64) for n in (64, 64, 3))
    return torch.sin(0.05 * (h[:, None] + 1) * (c[:, None, None] + 1)) * torch.cos(0.03 * (w + 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.parametrize("release", ["official", "paddle", "timm"])
def test_golden_logits(tmp_path, name, release):
    """Through `convert` of an official file and of a Paddle file, and through timm without `convert`."""
    weights = official_file(tmp_path / "official.pth", name)
    if release == "timm":
        overlay = {"file": str(tmp_path / "official.pth")}
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, dtype=torch.float64)
    else:
        source = tmp_path / "official.pth"
        if release == "paddle":
            source = tmp_path / "net.pdparams"
            source.write_bytes(pickle.dumps(as_paddle(weights)))
        report = convert(source, tmp_path / "ours.safetensors")
        assert (report["from"], report["network"], report["options"]["stem_kernel_size"]) == (release, name, 3)
        ours = read_weights(tmp_path / "ours.safetensors").weights
        network, _ = restore(ours, "ours")
        network.double().load_state_dict(ours)
    logits = network.eval()(image()[None])[0]
    assert logits[:4].tolist() == pytest.approx(LOGITS[name], abs=1e-9)


def as_paddle(weights):
    """Names and layout of the weights in the port."""
    arrays = {}
    for name, value in weights.items():
        name = name.removeprefix("backbone.").removeprefix("head.")
        name = name.replace("running_mean", "_mean").replace("running_var", "_variance")
        if not name.endswith("num_batches_tracked"):
            arrays[name] = (value.T if name == "fc.weight" else value).numpy()
    return arrays


def test_entries_of_the_paddle_port(tmp_path):
    weights = timm.create_model("rednet26").state_dict()
    arrays = as_paddle(to_official(weights).weights)
    assert len(arrays) == 211
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps(arrays))
    report = convert(tmp_path / "net.pdparams", tmp_path / "ours.pth")
    ours = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert all(torch.equal(ours[name], value) for name, value in weights.items())
    notes = {key["to"]: key["note"] for key in report["keys"]}
    assert (notes["fc.weight"], notes["stem.2.num_batches_tracked"]) == ("transposed", "added, 0")


def test_the_stem(tmp_path):
    """A 3x3 kernel in the centre of a 7x7 kernel gives the same outputs; the opposite conversion is rejected."""
    torch.manual_seed(0)
    network = timm.create_model("rednet26", num_classes=3).eval()
    torch.save(network.state_dict(), tmp_path / "three.pth")
    with torch.no_grad():
        expected = network(image().float()[None])
    report = convert(tmp_path / "three.pth", tmp_path / "seven.safetensors", stem_kernel_size=7)
    assert report["options"]["stem_kernel_size"] == 7
    assert "had a kernel of 3; it is the centre of one of 7" in report["notes"][0]
    wide, _ = restore(read_weights(tmp_path / "seven.safetensors").weights, "seven")
    with torch.no_grad():
        assert torch.allclose(wide.eval()(image().float()[None]), expected, atol=1e-5)
    with pytest.raises(ValueError, match="stem_kernel_size: expected 7, that of the source, got 3; taps would be lost"):
        convert(tmp_path / "seven.safetensors", tmp_path / "three.safetensors", stem_kernel_size=3)
    with pytest.raises(ValueError, match="stem_kernel_size: expected 3 or 7, got 4"):
        convert(tmp_path / "three.pth", tmp_path / "four.safetensors", stem_kernel_size=4)
    torch.save(timm.create_model("rednet26", stem="conv").state_dict(), tmp_path / "none.pth")
    with pytest.raises(ValueError, match="stem_kernel_size: expected none, because the source has no such stem, got 7"):
        convert(tmp_path / "none.pth", tmp_path / "seven.safetensors", stem_kernel_size=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("backbone.layer1.0.bn1.bias"), "1 differ: layer1.0.bn1.bias is missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 differ: extra is unexpected"),
        (lambda w: w.update({"head.fc.bias": torch.zeros(7)}), r"1 differ: fc.bias is \(7,\), not \(1000,\)"),
        (lambda w: w.pop("backbone.layer3.1.conv2.conv2.conv.weight"), "expected weights of rednet26, .* with others"),
    ],
)
def test_every_tensor_has_its_place(tmp_path, change, message):
    weights = dict(to_official(timm.create_model("rednet26").state_dict()).weights)
    change(weights)
    torch.save({"state_dict": weights}, tmp_path / "official.pth")
    with pytest.raises(ValueError, match=f"^source: .*{message}"):
        convert(tmp_path / "official.pth", tmp_path / "ours.pth")
    assert not (tmp_path / "ours.pth").exists()
