"""Networks through timm's folders, the Hugging Face hub (whose client is replaced) and torch.hub."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from timm.models import _hub

from involution.models.hub import model_card

ROOT = Path(__file__).parents[2]


@pytest.fixture
def network():
    return timm.create_model("rednet26", num_classes=3, stem_kernel_size=7).eval()


def same(network, other):
    expected, got = network.state_dict(), other.state_dict()
    return expected.keys() == got.keys() and all(torch.equal(expected[name], got[name]) for name in expected)


def uploaded(monkeypatch, folder, network):
    """Upload a network with its card; the files that the hub would get are copied to `folder`."""
    api = SimpleNamespace(
        create_repo=lambda repository, **_: SimpleNamespace(repo_id=repository),
        file_exists=lambda **_: False,
        upload_folder=lambda folder_path, **_: shutil.copytree(folder_path, folder),
    )
    monkeypatch.setattr(_hub, "HfApi", lambda **_: api)
    card = model_card(network, "me/rednet26-pets", "mit", {"Dataset": "pets"})
    arguments = {"num_classes": 3, "stem_kernel_size": 7}
    timm.models.push_to_hf_hub(network, "me/rednet26-pets", model_card=card, model_args=arguments)


def test_the_hub_of_hugging_face(network, monkeypatch, tmp_path):
    folder = tmp_path / "hub"
    uploaded(monkeypatch, folder, network)
    card = (folder / "README.md").read_text()
    assert "license: mit" in card and "- involution" in card
    assert "- **Dataset:** pets" in card and "li2021involution" in card
    assert 'timm.create_model("hf-hub:me/rednet26-pets", pretrained=True)' in card
    config = json.loads((folder / "config.json").read_text())
    assert (config["architecture"], config["num_classes"]) == ("rednet26", 3)
    monkeypatch.setattr(_hub, "hf_hub_download", lambda repo_id, filename, **_: str(folder / filename))
    assert same(network, timm.create_model("hf-hub:me/rednet26-pets", pretrained=True))
    assert same(network, timm.create_model(f"local-dir:{folder}", pretrained=True))


def test_torch_hub(network, tmp_path):
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pth")
    options = {"source": "local", "num_classes": 3, "stem_kernel_size": 7}
    loaded = torch.hub.load(str(ROOT), "rednet26", **options, weights=str(tmp_path / "weights.pth"))
    assert not same(network, torch.hub.load(str(ROOT), "rednet26", **options))
    with pytest.raises(ValueError, match="stem_kernel_size: expected 7, the stem of this checkpoint, got 3"):
        torch.hub.load(str(ROOT), "rednet26", source="local", num_classes=3, weights=str(tmp_path / "weights.pth"))
    for name, value in loaded.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, network.state_dict()[name])


def test_a_hostile_file(tmp_path):
    class Mischief:
        def __reduce__(self):
            return Path.mkdir, (tmp_path / "made",)

    torch.save({"state_dict": {"fc.bias": Mischief()}}, tmp_path / "weights.pth")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        timm.create_model("rednet26", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "weights.pth")})
    assert not (tmp_path / "made").exists()
