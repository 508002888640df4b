"""User errors: exit status 2, and a single line with the expected and the actual value."""

import ast
import shutil
from pathlib import Path

import pytest

import involution
from involution.cli.errors import is_mistake


def complains(outcome, message):
    import re

    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert re.fullmatch(f"involution: error: .*{message}.*\n", outcome.err), outcome.err
    assert "Traceback" not in outcome.err
    return True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "command: expected one of fit, recipes, .*, got none"),
        (("train",), "command: expected one of .*, got 'train'"),
        (("trian",), "command: expected one of .*, got 'trian'"),
        (("explian",), "got 'explian'; did you mean explain.?"),
        (("info", "--jsn"), "unrecognized arguments: --jsn; did you mean --json.?"),
        (("info", "--js"), "unrecognized arguments: --js"),
        (("profile",), "the following arguments are required: NAME"),
        (("profile", "rednet51"), "name: expected a network of timm's registry, got 'rednet51'.*rednet50"),
        (("profile", "rednet50", "--input-size", "1", "2", "3"), "--input-size: expected one or two .*, got 1 2 3"),
        (("profile", "rednet50", "--input-size", "x", "8"), "argument --input-size: invalid int value: 'x'"),
        (("profile", "rednet50", "--input-size", "0", "8"), "--input-size: expected .* positive numbers, got 0 8"),
        (("profile", "rednet50", "--set", "num_classes=" + "[" * 3000), "--set: expected a number, .*, got '.*"),
        (("profile", "rednet50", "--set", "num_classes=" + "9" * 5000), "--set: expected a number, .*, got '9.*"),
        (("profile", "rednet50", "--set", "depth"), "--set: expected KEY=VALUE, got 'depth'"),
        (("profile", "rednet50", "--set", "stem_stride=3"), "stem_stride: expected 1, 2 or 4, got 3"),
        (("profile", "rednet50", "--set", "group_channels=20"), "group_channels: expected a divisor of .*, got 20"),
        (
            ("profile", "rednet50", "--set", "num_classes=-5"),
            "num_classes: expected a whole number from 0 to 65536, got -5",
        ),
        (
            ("profile", "vit_tiny_patch16_224", "--input-size", "100", "100"),
            "input_size: expected a size that vit_tiny_patch16_224 takes, got 100 x 100",
        ),
        (("profile", "rednet50", "--set", "colour=red"), "expected arguments of .*got .*colour"),
        (("fit", "--config", "gone.yaml"), "--config: expected a file or .*, got gone.yaml, which is not a file"),
        (("fit", "--config", "digit"), "got digit, which is not a file; did you mean digits.?"),
        (("fit",), "data"),
        (("fit", "digit"), "recipe: expected one of .*, got 'digit'; did you mean digits.?"),
        (("fit", "--chekpoint", "a"), "unrecognized arguments: --chekpoint a; did you mean --checkpoint.?"),
        (("predict",), "images: expected files, folders, or a configuration with data, got none of them"),
        (("predict", "a.png", "--checkpoint", "gone"), "checkpoint: expected a file, got gone, which does not exist"),
        (("fit", "digits", "--model.netwrok", "a"), "--model.netwrok: expected .* Classification, .*mean network.?"),
        (
            ("fit", "digits", "--model.optimizer.lrr", "1"),
            "--model.optimizer.lrr: .* of AdamW, got lrr; did you mean lr.?",
        ),
        (("fit", "digits", "--model.optimizer.lr", "x"), "--model.optimizer.lr: expected a number, got x"),
        (
            ("fit", "digits", "--model.schedule", "Cosine"),
            "--model.schedule: .* got 'Cosine'; did you mean CosinePerEpoch.?",
        ),
        (("fit", "digits", "--trainer.max_epochs", "x"), "--trainer.max_epochs: expected an integer, got x"),
        (("fit", "digits", "--batch-size", "x"), "--batch-size: expected an integer, got x"),
        (("fit", "digits", "--trainer.precision", "bf61"), "--trainer.precision: expected one of .*, got bf61"),
        (("fit", "digits", "--trainer.strategy", "ddpp"), "trainer: .*strategy='ddpp'.*"),
        (("export", "gone.ckpt", "--format", "onnx", "--out", "a.onnx"), "checkpoint: expected a file, got gone.ckpt"),
        (
            ("predict", "a.png", "--ckpt_path", "gone.ckpt"),
            "checkpoint: expected a file, got gone.ckpt, which does not exist",
        ),
    ],
    ids=str,
)
def test_arguments(run, arguments, message):
    assert complains(run(*arguments), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__network": "rednet51"},
            "network: expected a network of timm's registry, got 'rednet51'; close matches",
        ),
        ({"model__options": "{colour: 1}"}, "options: expected arguments of test_resnet, got {'colour': 1}"),
        ({"model__optimizer__lr": "fast"}, "lr.*fast"),
        ({"model__colour": "red"}, "colour"),
        ({"trainer__colour": "red"}, "colour"),
        (
            {"trainer__max_epoch": 1},
            "unrecognized arguments: --trainer.max_epoch 1; did you mean --trainer.max_epochs.?",
        ),
        ({"ckpt-path": "a"}, "unrecognized arguments: --ckpt-path a; did you mean --ckpt_path.?"),
        ({"model": "Classificatio"}, "--model: expected .* class, got 'Classificatio'; did you mean Classification.?"),
        ({"trainer.callbacks+": "NoSuch"}, "--trainer.callbacks: expected the name of a class, got 'NoSuch'"),
        ({"trainer__devices": 99}, "trainer.devices: expected at most .*, the cores of this machine, got 99"),
        ({"trainer__max_steps": 0}, "trainer.max_steps: expected a positive number or -1, got 0"),
        ({"trainer__limit_train_batches": 0}, "trainer.limit_train_batches: expected more than 0, got 0"),
        ({"trainer__accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches: expected at least 1, got 0"),
        ({"trainer__val_check_interval": 5000}, "trainer: .val_check_interval. .5000. must be less than"),
        ({"model__optimizer__lr": -1}, "optimizer: expected arguments in their range, got Invalid learning rate: -1"),
        ({"data__batch_size": 1}, "data.batch_size: expected at least 2, which batch norm needs, got 1"),
        ({"ckpt_path": "best"}, "checkpoint: expected a file or last to resume from, got best"),
        ({"data__root": "gone"}, "root: expected a folder, got gone, which is not a folder"),
        ({"data__num_workers": 10**5}, "num_workers: expected at most 1024 processes, got 100000"),
        ({"model__label_smoothing": 5}, "label_smoothing: expected 0 to 1, got 5"),
        ({"model__mixup_alpha": ".nan"}, "mixup_alpha: expected at least 0, got nan"),
        ({"data__batch_size": 0}, "batch_size: expected a positive number, got 0"),
        ({"trainer__max_epochs": -1}, "max_epochs: expected at least 1, .* got -1"),
        ({"trainer__devices": 0}, "devices"),
        ({"ckpt_path": "gone.ckpt"}, "checkpoint: expected a file, got gone.ckpt, which does not exist"),
    ],
    ids=str,
)
def test_settings(run, recipe, changes, message):
    assert complains(run("fit", *recipe(**changes)), message)


def test_an_unknown_key_in_a_configuration(run, recipe, tmp_path):
    (tmp_path / "wrong.yaml").write_text("trainer: {max_epoch: 3}\n")
    assert complains(run("fit", *recipe(), "--config", tmp_path / "wrong.yaml"), "max_epoch")
    for content, message in {
        b"a: [1\n": r"--config: expected a YAML file, got .*wrong.yaml \(.*line 2, column 1.*\)",
        b"text": "--config: expected a YAML mapping, got .*wrong.yaml with str",
        b"\x89PNG\r\n\xff": "--config: expected a YAML file, got .*wrong.yaml, which is no text",
    }.items():
        (tmp_path / "wrong.yaml").write_bytes(content)
        assert complains(run("fit", *recipe(), "--config", tmp_path / "wrong.yaml"), message)


def test_a_recipe_value_that_is_missing(run, recipe, configs, tmp_path):
    text = (configs / "cifar10.yaml").read_text()
    (tmp_path / "partial.yaml").write_text(text.replace("    label_smoothing: 0.1\n", ""))
    assert complains(run("fit", *recipe(config=tmp_path / "partial.yaml")), "label_smoothing")


def test_an_empty_class_folder(run, recipe, image_folder):
    (image_folder / "train/cow").mkdir()
    assert complains(run("fit", *recipe()), "root: expected an image in every class folder, got none in .*cow")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_image_that_cannot_be_decoded(run, recipe, image_folder, truncated, num_workers):
    truncated.rename(image_folder / "train/cat/0.png")
    for image in (image_folder / "train/cat").glob("[1-4].png"):
        image.unlink()
    message = "image: expected a file that can be decoded, got .*train/cat/0.png .*truncated"
    assert complains(run("fit", *recipe(data__num_workers=num_workers, data__val_fraction=0.2)), message)


def test_predict(run, checkpoint, truncated, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, message in {
        truncated: "image: expected a file that can be decoded, got .*truncated.jpg",
        "gone.png": "image: expected a file or a folder, got gone.png, which does not exist",
        "empty": "image: expected a folder with images, got empty with none",
    }.items():
        outcome = run("predict", path, "--ckpt_path", checkpoint, "--json")
        assert complains(outcome, message)
        assert outcome.out == ""
    assert complains(run("predict", "--ckpt_path", checkpoint), "images: expected files, folders, or a configuration")


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__network": "test_convnext"}, "checkpoint: expected network 'test_convnext' .*, got 'test_resnet'"),
        ({"model__options": "{drop_rate: 0.1}"}, "checkpoint: expected options {'drop_rate': 0.1} .*, got .*0.2"),
    ],
    ids=["network", "options"],
)
def test_a_checkpoint_of_another_model(run, recipe, checkpoint, command, changes, message):
    assert complains(run(command, *recipe(**changes), "--ckpt_path", checkpoint), message)


def test_a_checkpoint_of_other_classes(run, recipe, checkpoint, image_folder):
    for split in ("train", "test"):
        (image_folder / split / "dog").rename(image_folder / split / "wolf")
    message = r"checkpoint: expected classes \['cat', 'wolf'\] .*, got \['cat', 'dog'\]"
    assert complains(run("test", *recipe(), "--ckpt_path", checkpoint), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__optimizer": "SGD"}, "optimizer: expected AdamW as in the checkpoint, got SGD"),
        ({"model__decay_all": "false"}, "decay_all, layer_decay: expected 1 groups .* as in the checkpoint, got 2"),
    ],
    ids=["optimizer", "groups"],
)
def test_a_checkpoint_of_another_optimizer(run, recipe, checkpoint, changes, message):
    learning = {"trainer__max_epochs": 2, **changes, "model__optimizer__lr": 0.1}
    assert complains(run("fit", *recipe(**learning), "--ckpt_path", checkpoint), message)


def test_every_error_of_the_library_is_recognized():
    """A message that expects something says what it got; otherwise a mistake shows a traceback."""
    for path in Path(involution.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                message = ast.unparse(node.exc.args[0])
                assert "expected" not in message or is_mistake(ValueError(message)), f"{path}: {message}"


def test_many_other_classes(run, recipe, checkpoint, image_folder):
    for number in range(20):
        shutil.copytree(image_folder / "train/cat", image_folder / f"train/kind {number:02}")
        shutil.copytree(image_folder / "test/cat", image_folder / f"test/kind {number:02}")
    message = r"checkpoint: expected classes \(22 names, 'kind 00' at 2\) as in the configuration, got \(2 names\)"
    assert complains(run("test", *recipe(), "--ckpt_path", checkpoint), message)


def test_predict_with_the_configuration_of_another_model(run, configs, checkpoint, image_folder):
    arguments = ("predict", image_folder / "test", "--ckpt_path", checkpoint, "--config", configs / "digits.yaml")
    assert complains(run(*arguments), "model: expected network 'test_resnet' as in the checkpoint, got 'rednet26'")


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_files_that_are_no_checkpoints(run, recipe, truncated, command, tmp_path):
    import torch

    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    arguments = [truncated] if command == "predict" else recipe()
    other = "the weights of the network, got .*other.pt" if command == "test" else "weights alone"
    for path, message in {truncated: "without code, got .*truncated.jpg", tmp_path / "other.pt": other}.items():
        assert complains(run(command, *arguments, "--ckpt_path", path), f"checkpoint: expected .*{message}")


@pytest.mark.parametrize("command", ["validate", "test"])
@pytest.mark.parametrize("path", [None, "best"])
def test_random_weights_are_not_evaluated(run, recipe, command, path):
    given = [] if path is None else ["--ckpt_path", path]
    outcome = run(command, *recipe(), *given)
    assert complains(outcome, f"checkpoint: expected a checkpoint to evaluate, got {path or 'none'}")


@pytest.fixture
def broken(checkpoint, tmp_path):
    """Write a modified checkpoint of a run."""
    import torch

    def broken(change):
        saved = torch.load(checkpoint, weights_only=True)
        change(saved)
        torch.save(saved, tmp_path / "broken.ckpt")
        return tmp_path / "broken.ckpt"

    return broken


CHANGES = {
    "hyper_parameters": (lambda s: s.update(hyper_parameters=5), "got .* with hyper_parameters of type int"),
    "weights": (lambda s: s["state_dict"].popitem(), "expected the weights of the network, got .* is missing"),
    "classes": (lambda s: s["hyper_parameters"]["classes"].append("cow"), "classes|weights of the network"),
    "task": (
        lambda s: s["hyper_parameters"].update(segmentor="upernet"),
        "of Segmentation|auxiliary_head.conv_seg.bias is missing|four stages",
    ),
    "no weights": (lambda s: s.update(state_dict={}), "expected weights by name, got .* with nothing"),
}


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
@pytest.mark.parametrize("change", CHANGES)
def test_checkpoints_with_a_part_that_is_wrong(run, recipe, broken, image_folder, command, change):
    edit, message = CHANGES[change]
    arguments = [image_folder / "test"] if command == "predict" else recipe()
    assert complains(run(command, *arguments, "--ckpt_path", broken(edit)), f"(checkpoint|backbone): .*({message})")


def test_a_folder_in_place_of_a_checkpoint(run, tmp_path):
    outcome = run("predict", "a.png", "--ckpt_path", tmp_path)
    assert complains(outcome, "checkpoint: expected a file of weights, got .*, which is a folder")


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_a_gpu_that_is_not_there(run, recipe, checkpoint, image_folder, command):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    arguments = recipe() if command == "fit" else [image_folder / "test", "--ckpt_path", checkpoint]
    outcome = run(command, *arguments, "--trainer.accelerator", "gpu")
    assert complains(outcome, "trainer.accelerator: expected a device of this machine, got a GPU")
