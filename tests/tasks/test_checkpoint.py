"""Untrusted checkpoints, as read by `predict`."""

import os
from pathlib import Path

import pytest
import torch

from involution.tasks import load_task


@pytest.fixture
def change(weights, tmp_path):
    """Write the checkpoint with other hyperparameters."""

    def change(**hparams):
        saved = torch.load(weights, weights_only=True)
        saved["hyper_parameters"] |= hparams
        torch.save(saved, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return change


class Mischief:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_weights_classes_and_eval_transform_are_those_of_the_file(weights):
    task = load_task(weights)
    saved = torch.load(weights, weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in task.state_dict().items())
    assert task.classes == ["n02123394", "n02085620"]
    assert task.eval_transform.resize == 32


@pytest.mark.parametrize(
    "option", ["checkpoint_path", "pretrained_cfg_overlay", "pretrained_cfg", "cache_dir", "pretrained"]
)
def test_an_option_that_names_another_file_is_not_followed(change, tmp_path, option):
    """The second file would run code in timm versions that read it with pickle."""
    second = tmp_path / "second.pth"
    torch.save({"state_dict": Mischief(tmp_path / "written")}, second)
    value = {"pretrained": True, "checkpoint_path": str(second), "cache_dir": str(tmp_path / "cache")}
    overlay = {"file": str(second)}
    options = {"stem_stride": 1, **({"pretrained": True} if option != "checkpoint_path" else {})}
    path = change(options=options | {option: value.get(option, overlay)})
    assert load_task(path).hparams["options"] == {"stem_stride": 1}
    assert not (tmp_path / "written").exists()
    assert not (tmp_path / "cache").exists()


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    saved = {"state_dict": {"a": torch.zeros(1)}, "hyper_parameters": Mischief(tmp_path / "written")}
    torch.save(saved, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=r"checkpoint: expected a file of weights without code, got .*bad.ckpt"):
        load_task(tmp_path / "bad.ckpt")
    assert not Path(tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"network": "hf-hub:someone/net"}, "network: expected .*, got 'hf-hub:"),
        ({"network": None}, "checkpoint: expected arguments of Classification in .*"),
        ({"options": {"colour": 1}}, "options: expected arguments of rednet26, got {'colour': 1}"),
        ({"options": {"norm_layer": torch.zeros(1)}}, "with options that are not names and plain values"),
        ({"options": 3}, "with options that are not names and plain values"),
        ({"options": {"stem_stride": 3}}, "stem_stride: expected 1, 2 or 4, got 3"),
        ({"options": {"kernel_size": 100_001}}, "checkpoint: expected the weights of the network, got .* differ"),
        ({"network": "rednet152"}, "expected the weights of the network, got .* differ: .* is missing"),
        ({"classes": ["one"]}, r"expected the weights .* fc.bias is \(2,\), not \(1,\)"),
        ({"classes": 5}, "with classes that are no list of names"),
        ({"classes": [5, 6]}, "with classes that are no list of names"),
        ({"eval_transform": 3}, "with eval_transform that are not names and plain values"),
        ({"eval_transform": {"resize": 32}}, "checkpoint: expected arguments of Classification"),
        (
            {"eval_transform": {"resize": 100_000, "crop": 32, "channels": 3}},
            "with eval_transform of resize 100000, more than 2048",
        ),
        *(
            (
                {"eval_transform": {"resize": 32, "crop": crop, "channels": 3}},
                f"of crop {crop}, which is no whole number",
            )
            for crop in (True, 32.5)
        ),
        ({"eval_transform": {"resize": 32, "crop": 32, "channels": float("nan")}}, "not names and plain values"),
        ({"options": {"stem_stride": 1, "drop_rate": "x"}}, "checkpoint: expected arguments of Classification in .*"),
        ({"options": {"stem_stride": 1, "drop_rate": 2}}, "checkpoint: .* expected a number from 0 to 1, got 2"),
        ({"options": {"group_channels": 0.5}}, "checkpoint: expected arguments of Classification in .*"),
        (
            {"eval_transform": {"resize": 32, "crop": 32, "channels": 4}},
            "expected the weights of the network, got .* stem.0.conv.weight",
        ),
        ({"segmentor": "semantic_fpn"}, "differ: backbone.body.layer1.0.bn1.bias is missing"),
        ({"detector": "yolo"}, "detector: expected one of faster_rcnn, .*, got 'yolo'"),
        (
            {"detector": "faster_rcnn", "options": {"settings": {"min_size": 10**9}}},
            "with options of min_size 1000000000, more than 4096",
        ),
    ],
    ids=str,
)
def test_hyperparameters_are_checked(change, hparams, message):
    with pytest.raises(ValueError, match=message):
        load_task(change(**hparams))


@pytest.mark.parametrize("hparams", [5, [1], "text"])
def test_hyperparameters_of_another_type(weights, tmp_path, hparams):
    saved = torch.load(weights, weights_only=True) | {"hyper_parameters": hparams}
    torch.save(saved, tmp_path / "changed.ckpt")
    with pytest.raises(ValueError, match=f"got .* with hyper_parameters of type {type(hparams).__name__}"):
        load_task(tmp_path / "changed.ckpt")


def test_a_weight_that_is_missing(weights, tmp_path):
    saved = torch.load(weights, weights_only=True)
    del saved["state_dict"]["net.layer3.2.conv1.weight"]
    torch.save(saved, tmp_path / "part.ckpt")
    message = "expected the weights of the network, got .*part.ckpt, in which 1 differ: layer3.2.conv1.weight is"
    with pytest.raises(ValueError, match=message):
        load_task(tmp_path / "part.ckpt")
