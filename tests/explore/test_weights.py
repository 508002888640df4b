"""Untrusted checkpoints: only networks of this package are accepted."""

from pathlib import Path

import pytest
import timm
import torch

import involution.models  # noqa: F401
from involution.explore import load_network


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
    with pytest.raises(ValueError, match=r"checkpoint: expected a file of weights without code, got .*bad.ckpt"):
        load_network(None, tmp_path / "bad.ckpt")
    assert not Path("/made-by-a-checkpoint").exists()


def test_a_network_without_involutions(tmp_path):
    state = {
        f"net.{name}": value for name, value in timm.create_model("test_resnet", num_classes=2).state_dict().items()
    }
    facts = {"network": "test_resnet", "classes": ["a", "b"], "eval_transform": {"resize": 8, "crop": 8, "channels": 3}}
    torch.save({"state_dict": state, "hyper_parameters": facts}, tmp_path / "other.ckpt")
    with pytest.raises(
        ValueError, match=r"checkpoint: expected a network with involutions, got test_resnet in .*other"
    ):
        load_network(None, tmp_path / "other.ckpt")


def test_hyperparameters_are_those_of_a_task(weights, tmp_path):
    saved = torch.load(weights, weights_only=True)
    saved["hyper_parameters"]["network"] = "rednet152"
    torch.save(saved, tmp_path / "changed.ckpt")
    with pytest.raises(
        ValueError, match=r"checkpoint: expected the weights of the network, got .* differ: .* is missing"
    ):
        load_network(None, tmp_path / "changed.ckpt")


@pytest.mark.parametrize(
    ("name", "checkpoint", "message"),
    [
        (None, None, "model: expected the name of a network or a checkpoint, got neither"),
        ("rednet51", None, "model: expected a network of rednet26, .*, got 'rednet51'"),
        (None, "gone.ckpt", "checkpoint: expected a file, got gone.ckpt, which does not exist"),
        ("rednet50", "two.ckpt", "model: expected 'rednet26' as in the checkpoint, got 'rednet50'"),
        (None, "text.ckpt", "checkpoint: expected a file of weights without code, got text.ckpt, which is damaged"),
        (
            None,
            "text.safetensors",
            "checkpoint: expected a file of weights without code, got text.safetensors, which is damaged",
        ),
        (None, "list.pt", "checkpoint: expected weights by name, got list.pt with list"),
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
        {
            "detector": "faster_rcnn",
            "options": {"neck": "involution", "settings": {"min_size": 128}},
            "eval_transform": {"channels": 3},
        },
    ),
    "semantic_fpn": (
        "backbone.",
        {
            "segmentor": "semantic_fpn",
            "options": {"neck": "involution", "channels": 64},
            "eval_transform": {"values": [0, 1], "ignored": [], "colors": [[0, 0, 0], [255, 0, 0]]},
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DENSE)
def test_detectors_and_segmentors(tmp_path, kind):
    """By the names of their layers in the module tree, from a checkpoint of their task, over the whole image."""
    from involution.models.counting.complexity import BUILDERS

    prefix, facts = DENSE[kind]
    classes = ["cat", "dog"]
    model = BUILDERS[kind]("rednet26", num_classes=2 + (kind == "faster_rcnn"), **facts["options"])
    state = {f"net.{name}": value for name, value in model.state_dict().items()}
    facts = {"network": "rednet26", "classes": classes, **facts}
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
