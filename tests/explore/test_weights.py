"""Checkpoints that strangers bring: believed as far as our own networks go."""

from pathlib import Path

import pytest
import timm
import torch

import involution.models  # noqa: F401
from involution.explore import load_network


@pytest.fixture
def change(weights, tmp_path):
    """Write the checkpoint with other facts."""

    def change(**facts):
        saved = torch.load(weights, weights_only=True)
        saved["hyper_parameters"] |= facts
        torch.save(saved, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return change


def test_a_checkpoint_brings_network_size_and_classes_in_words(network):
    assert network.size == 32
    assert network.classes == ["Persian cat", "Chihuahua"]


def test_weights_are_those_of_the_file(network, weights):
    saved = torch.load(weights, weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[f"net.{name}"]) for name, value in network.model.state_dict().items())


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_weights_alone_are_recognized(tmp_path, ending, prefix):
    from safetensors.torch import save_file

    state = timm.create_model("rednet38", num_classes=3).state_dict()
    state = {f"{prefix if not name.startswith('fc') else ''}{name}": value for name, value in state.items()}
    path = tmp_path / f"weights.{ending}"
    save_file(state, path) if ending == "safetensors" else torch.save({"state_dict": state}, path)
    network = load_network(None, path)
    assert torch.equal(network.model.fc.weight, state["fc.weight"])
    assert network.size == 224


class Mischief:
    def __reduce__(self):
        return (open, ("/made-by-a-checkpoint", "w"))


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "hyper_parameters": Mischief()}, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=r"checkpoint: expected weights and no code, got .*bad.ckpt"):
        load_network(None, tmp_path / "bad.ckpt")
    assert not Path("/made-by-a-checkpoint").exists()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"network": "resnet50"}, "checkpoint: expected a network of rednet26, .*, got 'resnet50'"),
        (
            {"network": "hf-hub:someone/net"},
            "checkpoint: expected a network of .*, got 'hf-hub:",
        ),
        ({"options": {"pretrained": True}}, r"checkpoint: expected options of .*, got {'pretrained': True}"),
        ({"options": {"checkpoint_path": "/etc/passwd"}}, "checkpoint: expected options of .*checkpoint_path"),
        ({"options": {"stem_stride": [1] * 9}}, "checkpoint: expected options of .*stem_stride"),
        ({"options": {"stem_stride": 3}}, "stem_stride: expected 1, 2 or 4, got 3"),
        ({"options": {"kernel_size": 100_001}}, "checkpoint: expected the weights of the network, got .* differ"),
        ({"network": "rednet152"}, "checkpoint: expected the weights of the network, got .* differ: .* is missing"),
        (
            {"classes": ["one"]},
            r"checkpoint: expected the weights .* fc.bias is \(2,\), not \(1,\)",
        ),
        ({"classes": 5}, "checkpoint: expected the classes and eval_transform of `involution fit`, got .*"),
        ({"eval_transform": {"resize": 10**9, "channels": 3}}, "checkpoint: expected the classes and eval_transform"),
        ({"eval_transform": {"resize": 32, "channels": 4}}, "checkpoint: expected the classes and eval_transform"),
    ],
    ids=str,
)
def test_facts_are_checked(change, facts, message):
    with pytest.raises(ValueError, match=message):
        load_network(None, change(**facts))


@pytest.mark.parametrize(
    ("name", "checkpoint", "message"),
    [
        (None, None, "model: expected the name of a network or a checkpoint, got neither"),
        ("rednet51", None, "model: expected a network of rednet26, .*, got 'rednet51'"),
        (None, "gone.ckpt", "checkpoint: expected a file, got gone.ckpt, which does not exist"),
        ("rednet50", "two.ckpt", "model: expected 'rednet26' as in the checkpoint, got 'rednet50'"),
        (None, "text.ckpt", "checkpoint: expected weights and no code, got text.ckpt, which is another"),
        (None, "text.safetensors", "checkpoint: expected weights and no code, got text.safetensors, which is another"),
        (None, "list.pt", "checkpoint: expected weights by name, got list.pt, which is another file"),
        (None, "other.pt", "checkpoint: expected weights of rednet26, .*, got other.pt with others"),
    ],
)
def test_errors(name, checkpoint, message, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.ckpt").symlink_to(weights)
    for text in ("text.ckpt", "text.safetensors"):
        (tmp_path / text).write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message):
        load_network(name, checkpoint)


DENSE = {
    "faster_rcnn": (
        "backbone.body.",
        {"detector": "faster_rcnn", "options": {"neck": "involution", "settings": {"min_size": 128}}},
    ),
    "semantic_fpn": ("backbone.", {"segmentor": "semantic_fpn", "options": {"neck": "involution", "channels": 64}}),
}


@pytest.mark.parametrize("kind", DENSE)
def test_detectors_and_segmentors(tmp_path, kind):
    """By the names of their layers in the module tree, from a checkpoint of their task, over the whole image."""
    from involution.models.counting.complexity import BUILDERS

    prefix, facts = DENSE[kind]
    classes = ["cat", "dog"]
    model = BUILDERS[kind]("rednet26", num_classes=2 + (kind == "faster_rcnn"), **facts["options"])
    state = {f"net.{name}": value for name, value in model.state_dict().items()}
    facts = {"network": "rednet26", "classes": classes, "eval_transform": {"channels": 3}, **facts}
    torch.save({"state_dict": state, "hyper_parameters": facts}, tmp_path / "dense.ckpt")
    network = load_network(None, tmp_path / "dense.ckpt")
    look = network.look(torch.randint(0, 256, (3, 40, 70), dtype=torch.uint8), size=64)
    modules = dict(network.model.named_modules())
    assert all(name.partition("[")[0] in modules for name in look.layers)
    assert any(name.startswith(prefix) for name in look.layers)
    assert len(look.layers) > 8  # those of the neck, too
    assert look.image.shape == (3, 64, 112)
    largest = max((generated.kernel for generated in look.layers.values()), key=lambda kernel: kernel.shape[-1])
    assert largest.shape[-2:] == (32, 56)  # without the padding of a detector
    assert look.classes == []
