"""The weights that are part of the package: their file, names and preprocessing."""

import re
from pathlib import Path

import pytest
import torch

from involution.explore import load_network
from involution.tasks import load_task
from involution.weights import DEFAULT, PRETRAINED, read_weights
from involution.weights.pretrained import FOLDER, locate


@pytest.fixture(scope="module")
def task():
    return load_task(DEFAULT)


def test_the_file_is_small_and_in_half_precision():
    path = PRETRAINED[DEFAULT]
    assert path.stat().st_size < 6e6
    floating = [value for value in read_weights(path).weights.values() if value.is_floating_point()]
    assert {value.dtype for value in floating} == {torch.float16}
    assert all(value.isfinite().all() for value in floating)


def test_every_file_has_a_model_card():
    for name in PRETRAINED:
        card = (FOLDER / f"{name}.md").read_text()
        assert "licence" in card.lower() and "ImageNet" in card and "<!-- begin: pretrained -->" in card


def test_a_name_stands_for_the_file_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate(DEFAULT) == PRETRAINED[DEFAULT]
    assert locate("other.ckpt") == Path("other.ckpt")
    Path(DEFAULT).touch()
    assert locate(DEFAULT) == Path(DEFAULT)


def test_classes_are_words_and_preprocessing_is_stored(task):
    assert len(set(task.classes)) == 50
    assert not any(re.fullmatch(r"n\d{8}", name) for name in task.classes)
    assert (task.eval_transform.resize, task.eval_transform.crop) == (64, 64)
    assert task.eval_transform.antialias
    assert task.net.num_features == 1024


def test_weights_differ_from_initial_ones(task):
    last_norms = [block.bn3.weight for stage in (task.net.layer1, task.net.layer4) for block in stage]
    assert all(weight.abs().max() > 0 for weight in last_norms)  # they begin as zero


def test_the_explorer_names_the_classes():
    look = load_network(None, DEFAULT).look(torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8))
    assert look.image.shape == (3, 64, 82) and len(look.classes) == 5
