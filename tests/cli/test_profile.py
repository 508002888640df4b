import json

import pytest
from test_mistakes import complains

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


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("rednet26", "in_chans=.nan", "in_chans: expected finite numbers, got nan"),
        ("rednet26", "width_factor=.inf", "width_factor: expected finite numbers, got inf"),
        ("rednet26", "kernel_size=[7, -.inf]", "kernel_size: expected finite numbers, got .7, -inf."),
        ("rednet26", "in_chans=0", "in_chans: expected a whole number from 1 to 65536, got 0"),
        ("rednet26", "in_chans=three", "in_chans: expected a whole number .*, got 'three'"),
        ("rednet26", "num_classes=[1, 2]", r"num_classes: expected a whole number .*, got \[1, 2\]"),
        ("rednet26", "num_classes=true", "num_classes: expected a whole number .*, got True"),
        ("resnet50", "drop_rate=-1", "drop_rate: expected a number from 0 to 1, got -1"),
        ("lsnet_t", "drop_rate=much", "drop_rate: expected a number from 0 to 1, got 'much'"),
        ("rednet26", "act_layer=relux", "act_layer: expected the name of a layer of timm, got 'relux'"),
        ("rednet26", "norm_layer=batch", "norm_layer: expected the name of a layer of timm, got 'batch'"),
        ("rednet26", "global_pool=5", "global_pool: expected the name of a pooling, got 5"),
        ("rednet26", "global_pool=word", "rednet26: expected arguments of the network, got .*Invalid pool type: word"),
        ("retinanet/rednet26", "num_classes=1", "num_classes: expected a whole number from 2 to 65536, got 1"),
        ("mask_rcnn/rednet26", "channels=-1", "channels: expected a whole number from 1 to 65536, got -1"),
        ("semantic_fpn/rednet26", "head_channels=.nan", "head_channels: expected a whole number .*, got nan"),
        ("upernet/rednet26", "auxiliary_channels=1e9", "auxiliary_channels: expected a whole number .*, got '1e9'"),
        ("upernet/rednet26", "in_chans=.nan", "in_chans: expected finite numbers, got nan"),
    ],
    ids=str,
)
def test_values_that_no_network_takes(run, name, option, message):
    assert complains(run("profile", name, "--input-size", 32, "--set", option), message)
