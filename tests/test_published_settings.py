"""Recipes of the paper: the file, the data and the network have the settings of results/recipes.toml."""

import tomllib
from dataclasses import asdict
from functools import cache, reduce
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from involution import data, tasks
from involution.data.detection.train_transform import DetectionTrainTransform
from involution.data.segmentation.train_transform import SegmentationTrainTransform
from involution.tasks import CosinePerEpoch

ROOT = Path(__file__).parents[1]
PUBLISHED = tomllib.loads((ROOT / "results/recipes.toml").read_text())


def published(name, part):
    return {key: value for key, value in PUBLISHED[name][part].items() if key != "source"}


@cache
def recipe(name):
    return yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())


@cache
def built(name):
    """The data of a recipe, without files, and its task with a smaller backbone."""
    given = recipe(name)["data"]
    images = getattr(data, given["class_path"])(**given["init_args"])
    classes = [str(number) for number in range({"ImageNet": 1000, "COCO": 80, "Cityscapes": 19}[given["class_path"]])]
    given = recipe(name)["model"]
    arguments = {**given["init_args"], "network": "rednet26", "optimizer": torch.optim.SGD}
    arguments |= {"schedule": CosinePerEpoch(0, 1.0), "eval_transform": asdict(images.eval_transform)}
    torch.manual_seed(0)
    return images, getattr(tasks, given["class_path"])(classes=classes, **arguments)


def entry(part, key):
    return part[int(key) if isinstance(part, list) else key]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_file(name):
    expected = {path: value for path, value in PUBLISHED[name].items() if "." in path}
    assert {path: reduce(entry, path.split("."), recipe(name)) for path in expected} == expected
    clipped = "trainer.gradient_clip_val" in expected
    assert ("gradient_clip_val" in recipe(name)["trainer"]) == clipped
    unlisted = {path for path in recipe(name)["model"]["init_args"] if f"model.init_args.{path}" not in expected}
    assert not unlisted & {"decay_all", "layer_decay", "mixup_alpha", "cutmix_alpha"}


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs").glob("*.yaml")))
def test_the_best_checkpoint_has_the_highest_score_of_validation(name):
    best, last = (callback["init_args"] for callback in recipe(name)["trainer"]["callbacks"][:2])
    assert best["filename"] == "best"
    assert best["mode"] == "max"
    assert best["monitor"] in ("val/top1", "val/miou", "val/box_ap", "val/box_ap50")
    assert last["filename"] == "last"


def augmentation(transform):
    """Return the parameters of the random transforms, in the form of results/recipes.toml."""
    if isinstance(transform, SegmentationTrainTransform):
        own = {name: getattr(transform, name) for name in ("scales", "crop", "max_share", "flip")}
        steps = zip(JITTER, transform.distort.transforms, strict=True)
        return {**own, **{name: getattr(step.transforms[0], name) for name, step in steps}}
    steps = (transform.transform if isinstance(transform, DetectionTrainTransform) else transform).transforms
    drawn = {type(step).__name__: step for step in steps if "Rand" in type(step).__name__}
    attributes = {
        "RandomResizedCrop": ("size", "scale", "ratio", "antialias"),
        "RandomHorizontalFlip": ("p",),
        "RandAugment": ("num_ops", "magnitude"),
    }
    return {kind: {name: getattr(step, name) for name in attributes[kind]} for kind, step in drawn.items()}


JITTER = ("brightness", "contrast", "saturation", "hue")


def plain(value):
    """Replace tuples by lists, as in TOML."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", PUBLISHED)
def test_augmentation(name):
    images, _ = built(name)
    assert plain(augmentation(images.train_transform)) == published(name, "augmentation")


@pytest.mark.parametrize("name", PUBLISHED)
def test_size_and_statistics_of_images(name):
    images, task = built(name)
    detects = recipe(name)["model"]["class_path"] == "Detection"
    source = task.net.transform if detects else images.eval_transform
    expected = published(name, "evaluation")
    assert {key: plain(getattr(source, key)) for key in expected} == expected
    statistics = published(name, "image")
    for key, value in statistics.items():
        assert getattr(task, key).flatten().tolist() == pytest.approx(value)
    if detects:
        assert {"mean": source.image_mean, "std": source.image_std} == statistics


def deviation(layer, rule):
    """Return the standard deviation of the initial weights of a layer."""
    if not isinstance(rule, str):
        return rule
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    return (2 / (fan_out if rule == "he" else fan_in + fan_out)) ** 0.5


@pytest.mark.parametrize("name", PUBLISHED)
def test_initial_weights(name):
    _, task = built(name)
    for path, rule in published(name, "initial").items():
        layer = task.net.get_submodule(path)
        spread = layer.weight.square().mean().sqrt().item()  # around zero: a norm of ones has no deviation
        assert spread == pytest.approx(deviation(layer, rule), rel=0.12), path
        assert getattr(layer, "bias", None) is None or not layer.bias.any() or "cls_logits" in path


@pytest.mark.parametrize("name", PUBLISHED)
def test_dropout(name):
    _, task = built(name)
    layers = [layer for layer in task.net.modules() if isinstance(layer, nn.Dropout | nn.Dropout2d)]
    assert [layer.p for layer in layers] == published(name, "dropout")["rates"]
