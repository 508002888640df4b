"""`involution convert`; the names and values are tested in tests/models/test_conversion.py."""

import json

import pytest
import timm
import torch
from test_mistakes import complains

from involution.weights import read_weights, to_official


@pytest.fixture
def official(tmp_path):
    weights = timm.create_model("rednet26", num_classes=3).state_dict()
    torch.save({"state_dict": to_official(weights).weights}, tmp_path / "official.pth")
    return weights


def test_a_report(run, official):
    outcome = run("convert", "official.pth", "ours.safetensors")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "read      official.pth, 251 tensors, names: official",
        "network   rednet26 (in_chans 3, num_classes 3, stem_kernel_size 3)",
        "note      the involution of the stem has a kernel of 3, as in the released classifiers",
        "written   ours.safetensors, names: involution",
    ]
    assert read_weights("ours.safetensors").weights.keys() == official.keys()


def test_every_key(run, official):
    lines = run("convert", "official.pth", "ours.pth", "--keys").out.splitlines()[4:]
    assert len(lines) == 251
    assert lines[0].split() == ["backbone.stem.0.conv.weight", "stem.0.conv.weight", *"32 x 3 x 3 x 3".split()]
    report = json.loads(run("convert", "ours.pth", "again.pth", "--to", "official", "--json").out)
    assert report["keys"][-1] == {"from": "fc.bias", "to": "head.fc.bias", "shape": [3], "note": ""}


def test_a_checkpoint_of_fit_keeps_classes_and_preprocessing(run, weights, image_folder):
    assert run("convert", weights, "two.safetensors").status == 0
    image = image_folder / "test/cat/0.png"
    said = [run("predict", image, "--ckpt_path", path, "--json").out for path in (weights, "two.safetensors")]
    assert said[0] == said[1]
    assert json.loads(said[0])[0]["classes"][0]["name"].startswith("n0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.pth", "out.pth"), "source: expected a file, got gone.pth, which does not exist"),
        (("official.pth", "out.onnx"), "out: expected a file ending in .safetensors, .pth, .pt, got out.onnx"),
        (("official.pth", "gone/out.pth"), "out: expected a file in an existing folder, got gone/out.pth"),
        (("official.pth", "out.pth", "--stem-kernel-size", "5"), "argument --stem-kernel-size: invalid choice: 5"),
        (("official.pth", "out.pth", "--to", "paddle"), "argument --to: invalid choice: 'paddle'"),
        (("official.pth",), "the following arguments are required: OUT"),
    ],
    ids=str,
)
def test_mistakes(run, official, arguments, message):
    assert complains(run("convert", *arguments), message)


def test_a_stem_of_7_where_3_is_required(run, tmp_path):
    torch.save(timm.create_model("rednet26", stem_kernel_size=7).state_dict(), tmp_path / "seven.pth")
    outcome = run("convert", "seven.pth", "three.pth", "--stem-kernel-size", 3)
    assert complains(outcome, "stem_kernel_size: expected 7, that of the source, got 3; taps would be lost")
