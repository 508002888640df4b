"""`predict`, `explain` and `explore` without a checkpoint use the weights of the package."""

import json

from PIL import Image

from involution.tasks import load_task
from involution.weights import DEFAULT


def test_predict_needs_an_image_alone(run, tmp_path):
    Image.effect_noise((90, 70), 90).convert("RGB").save(tmp_path / "one.png")
    outcome = run("predict", "one.png", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    classes = load_task(DEFAULT).classes
    (answer,) = json.loads(outcome.out)
    assert [entry["name"] in classes for entry in answer["classes"]] == [True] * 5


def test_explain_uses_them_unless_a_network_is_named(run, tmp_path):
    Image.effect_noise((90, 70), 90).convert("RGB").save(tmp_path / "one.png")
    assert run("explain", "one.png", "--out", "trained.png") == (0, "", "")
    assert "random" in run("explain", "one.png", "--model", "rednet26", "--input-size", 32, "--out", "heat.png").err
