import json
import shutil
from pathlib import Path

import pytest

from involution.data import ClassificationEvalTransform
from involution.data.batch import as_float
from involution.data.files import read_image
from involution.tasks import load_task, read_checkpoint


def test_json_is_all_there_is_on_standard_output(run, checkpoint, image_folder):
    outcome = run(
        "predict", image_folder / "test", image_folder / "train/cat/7.png", "--checkpoint", checkpoint, "--json"
    )
    assert outcome.status == 0
    assert outcome.err == ""
    predictions = json.loads(outcome.out)
    files = [*(f"test/{name}/{i}.png" for name in ("cat", "dog") for i in range(2)), "train/cat/7.png"]
    assert [p["image"] for p in predictions] == [str(image_folder / file) for file in files]
    task = load_task(checkpoint).eval()
    for prediction in predictions:
        image = as_float(ClassificationEvalTransform(32, 32, 3)(read_image(prediction["image"])))
        expected = task(image[None]).softmax(1)[0]
        got = {c["name"]: c["probability"] for c in prediction["classes"]}
        assert got == pytest.approx({"cat": expected[0].item(), "dog": expected[1].item()}, abs=1e-5)
        assert prediction["classes"][0]["probability"] >= 0.5


def test_one_process_predicts_all_images(run, checkpoint, image_folder):
    """A recipe may ask for several processes, each of which would print a part."""
    several = ("--trainer.accelerator", "cpu", "--trainer.devices", 2)
    outcome = run("predict", image_folder / "test", "--checkpoint", checkpoint, "--json", *several)
    assert len(json.loads(outcome.out)) == 4


def test_table(run, checkpoint, image_folder):
    outcome = run("predict", image_folder / "test/dog/0.png", "--checkpoint", checkpoint)
    assert outcome.status == 0
    assert outcome.out.startswith(str(image_folder / "test/dog/0.png"))
    assert outcome.out.count("%") == 2
    assert outcome.out.count("\n") == 1


def test_names_cannot_command_the_terminal(run, weights, image_folder, tmp_path):
    import torch

    saved = torch.load(weights, weights_only=True)
    saved["hyper_parameters"]["classes"] = ["\x1b[2Jcat", "a\ndog"]
    torch.save(saved, tmp_path / "names.ckpt")
    image = (image_folder / "test/cat/0.png").rename(tmp_path / "\x1b]0;\udcff.png")
    outcome = run("predict", image, "--checkpoint", tmp_path / "names.ckpt")
    assert outcome.status == 0
    assert "\\x1b]0;\\udcff.png" in outcome.out and "\\x1b[2Jcat" in outcome.out and "a\\ndog" in outcome.out
    assert outcome.out.count("\n") == 1 and "\x1b" not in outcome.out


def test_a_configuration_names_the_images(run, checkpoint, recipe, image_folder):
    settings = recipe()
    kept = [
        part
        for i in range(0, len(settings), 2)
        if not settings[i].startswith("--model")
        for part in settings[i : i + 2]
    ]
    config = ["--model", json.dumps({"init_args": {"network": "test_resnet", "options": {"drop_rate": 0.2}}})]
    outcome = run("predict", *kept, *config, "--checkpoint", checkpoint, "--json")
    assert outcome.status == 0
    assert [p["image"] for p in json.loads(outcome.out)] == sorted(map(str, (image_folder / "test").rglob("*.png")))


def test_images_of_one_name_may_be_named_together(run, checkpoint, image_folder):
    """A classifier writes no pictures, so equal names cannot overwrite each other."""
    outcome = run("predict", image_folder / "test", "--checkpoint", checkpoint, "--out", "said")
    assert outcome.status == 0
    assert len(json.loads(Path("said/predictions.json").read_text())) == 4


def test_the_checkpoint_is_enough(run, checkpoint, image_folder, tmp_path):
    moved = shutil.copy(checkpoint, tmp_path / "elsewhere.ckpt")
    assert read_checkpoint(moved).hparams["classes"] == ["cat", "dog"]
    image = (image_folder / "test/cat/0.png").rename(tmp_path / "one.png")
    image_folder.rename(tmp_path / "gone")
    assert run("predict", image, "--checkpoint", moved).status == 0
