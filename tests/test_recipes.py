"""Every recipe runs one step of fit, validate, test and predict on generated images of its own format."""

import json
from pathlib import Path

import pytest
import timm
import torch
import yaml
from PIL import Image

import involution.models  # noqa: F401, registers the networks in timm
from involution.cli import main

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
ONE_STEP = [f"--trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test", "predict")]
SYNTHETIC = "--data=involution.data.Synthetic"

DETECTORS = ("coco_faster_rcnn", "coco_mask_rcnn", "coco_retinanet")

# Arguments that replace the images of a recipe, unless a package includes them.
DATA = {
    "cifar10": lambda images: [f"--data.root={images}", "--data.batch_size=2"],
    "digits": lambda images: [],
    "tiny_imagenet": lambda images: [f"--data.root={images}", "--data.batch_size=2"],
    **dict.fromkeys(
        ("imagenet", "imagenet_modern"),
        lambda images: [
            SYNTHETIC,
            "--data.size=224",
            "--data.num_classes=1000",
            "--data.images=2",
            "--data.batch_size=2",
        ],
    ),
    "camvid": lambda images: [f"--data.root={images}", "--data.crop=[32, 32]", "--data.batch_size=2"],
    "cityscapes_fpn": lambda images: [f"--data.root={images}", "--data.crop=[32, 32]"],
    "cityscapes_upernet": lambda images: [f"--data.root={images}", "--data.crop=[32, 32]"],
    "pennfudan": lambda images: [f"--data.root={images}", "--data.num_val_images=2", "--data.num_workers=0"],
    **dict.fromkeys(DETECTORS, lambda images: [f"--data.root={images}", "--data.num_workers=0"]),
}

# The fixtures that draw these images, other than `draw_images`.
DRAWN = {
    "camvid": "draw_scenes",
    "cityscapes_fpn": "draw_cityscapes",
    "cityscapes_upernet": "draw_cityscapes",
    "pennfudan": "draw_masks",
    **dict.fromkeys(DETECTORS, "draw_coco"),
}

# The key of the predictions of an image, the name of a score, and the pictures that are written.
LEFT = {
    "objects": ("score", {"photograph.png"}),
    "classes": ("probability", {"photograph.png", "photograph_mask.png"}),
}


# Options of networks that would take many seconds.
SMALL = {
    **{name: {"channels": 32, "settings": {"min_size": 64, "max_size": 96}} for name in (*DETECTORS, "pennfudan")},
    "cityscapes_upernet": {"channels": 32, "auxiliary_channels": 16},
}


def reduced(config, folder):
    """Return the recipe, or a copy with a smaller network, for smaller images if it is a detector."""
    if config.stem not in SMALL:
        return config
    recipe = yaml.safe_load(config.read_text())
    arguments = recipe["model"]["init_args"]
    arguments["network"] = "rednet26"
    if config.stem in DETECTORS:
        arguments["weights"] = str(folder / "rednet26.pt")
        torch.save(timm.create_model("rednet26", stem_kernel_size=7).state_dict(), arguments["weights"])
    arguments["options"] = arguments.get("options", {}) | SMALL[config.stem]
    (folder / config.name).write_text(yaml.safe_dump(recipe))
    return folder / config.name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:lr_batch_size. the learning rate for 2048 images is not scaled")  # that of LAMB
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_one_step(config, request, tmp_path, monkeypatch, capsys, one_thread):
    images = request.getfixturevalue(DRAWN.get(config.stem, "draw_images"))(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    config = reduced(config, tmp_path)
    recipe = [f"--config={config}", *DATA[config.stem](images), *ONE_STEP]
    assert main(["fit", *recipe, "--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1"]) == 0
    checkpoints = tmp_path / "runs" / config.stem / "version_0/checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]
    (tmp_path / "rednet26.pt").unlink(missing_ok=True)  # checkpoints do not need the initial weights
    for command in ("validate", "test"):
        assert main([command, *recipe, f"--ckpt_path={checkpoints / 'best.ckpt'}"]) == 0
    image = tmp_path / "photograph.jpg"
    Image.effect_noise((300, 260), 50).save(image)
    capsys.readouterr()
    asked = [str(image), f"--config={config}", f"--ckpt_path={checkpoints / 'last.ckpt'}", "--json", "--out=found"]
    assert main(["predict", *asked]) == 0
    [prediction] = json.loads(capsys.readouterr().out)
    assert prediction["image"] == str(image)
    kind = next(key for key in LEFT if key in prediction)
    score, pictures = LEFT[kind]
    drawn = pictures if config.stem in DRAWN else set()
    shares = [found["share" if "share" in found else score] for found in prediction[kind]]
    assert shares == sorted(shares, reverse=True)
    assert torch.isfinite(torch.tensor(shares)).all()
    assert kind == "objects" or 0 < sum(shares) <= 1.0001
    assert {path.name for path in (tmp_path / "found").iterdir()} == {"predictions.json"} | drawn


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_head_says_how_to_run_it_and_where_its_figures_are(config):
    head = [line for line in config.read_text().splitlines() if line.startswith("#")]
    assert f"#   involution fit --config configs/{config.name}" in "\n".join(head)
    assert any(f"results/{kind}" in line for kind in ("measured/", "published.toml") for line in head)
