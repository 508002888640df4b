import json

import pytest

from involution.models.counting import latency


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--set", "stem_kernel_size=7"), {"params": 15_541_526, "published_flops": 2_713_184_096}),
        ((), {"params": 15_540_806, "published_flops": 2_688_096_096, "input_size": [224, 224]}),
        (("--input-size", "64", "96"), {"params": 15_540_806, "input_size": [64, 96]}),
        (("--set", "num_classes=10", "--set", "in_chans=1"), {"trainable_params": 15_540_806 - 990 * 2049 - 2 * 288}),
    ],
    ids=str,
)
def test_json(run, arguments, expected):
    outcome = run("profile", "rednet50", "--json", *arguments)
    assert outcome.status == 0
    assert outcome.err == ""
    counts = json.loads(outcome.out)
    assert counts["name"] == "rednet50"
    assert {name: counts[name] for name in expected} == expected
    assert counts["macs"] > 0


def test_table(run):
    outcome = run("profile", "rednet50", "--set", "stem_kernel_size=7")
    assert outcome.status == 0
    assert "15,541,526  15.54 M\n" in outcome.out
    assert "2,713,184,096  2.71 G\n" in outcome.out
    assert "224 x 224\n" in outcome.out


def test_time(run, monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.01)
    outcome = run("profile", "rednet26", "--input-size", 32, "--time", "--json")
    found = json.loads(outcome.out)
    assert found["threads"] == 1
    assert 0 < found["prepared_time_ms"] < 10_000
    assert 0 < found["time_ms"] < 10_000


def test_only_classifiers_are_timed(run):
    outcome = run("profile", "retinanet/rednet26", "--input-size", 32, 32, "--time")
    message = "involution: error: name: expected a classifier to measure its time, got 'retinanet/rednet26'\n"
    assert (outcome.status, outcome.err) == (2, message)
