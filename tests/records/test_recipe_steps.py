"""The benchmark that trains recipes for some steps."""

import json
from types import SimpleNamespace

import pytest
import torch
from benchmarks.measuring.allocator import SETTINGS, VARIABLES
from benchmarks.measuring.options import Options
from benchmarks.measuring.timing import Budget
from benchmarks.training.recipe_steps import backbone, run, steps
from benchmarks.training.recorder import Recorder
from torch import nn

from involution.models.detection.heads import MaskHead


@torch.no_grad()
def test_norms_of_a_made_backbone_have_the_statistics_of_the_images():
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    network = backbone("rednet26", images).eval()
    x = (images / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    known = network.forward_features(x).std()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    assert known > 0.5
    assert network.forward_features(x).std() < known / 4


def test_rows_have_the_memory_that_was_recorded(tmp_path):
    row = {"loss": 2.0, "seconds": 1.0, "resident_mib": 5}
    for rank in range(2):
        rows = [{"step": 1, **row}, {"step": 2, **row, "loss": 2.0 + rank, "peak_mib": 7}]
        (tmp_path / f"{rank}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert steps(tmp_path) == [
        {"step": 1, "loss": 2.0, "step_s": 1.0, "resident_mib": [5, 5]},
        {"step": 2, "loss": 2.5, "step_s": 1.0, "resident_mib": [5, 5], "peak_mib": [7, 7]},
    ]


def test_a_step_is_recorded_with_the_proposals_of_the_mask_head(tmp_path):
    recorder, task = Recorder(str(tmp_path)), nn.Sequential(MaskHead(4, "convolution"))
    recorder.on_fit_start(None, task)
    for step, proposals in enumerate((3, 0), 1):
        task(torch.zeros(proposals, 4, 14, 14))
        recorder.on_train_batch_end(SimpleNamespace(global_step=step, global_rank=0), task, {"loss": 1.0}, None, 0)
    rows = [json.loads(line) for line in (tmp_path / "0.jsonl").read_text().splitlines()]
    assert [(row["step"], row["mask_proposals"]) for row in rows] == [(1, 3), (2, 0)]


@pytest.mark.parametrize(("setting", "name"), [("default", "imagenet"), ("return", "imagenet-returning-memory")])
def test_a_run_with_another_allocator_has_its_own_record(setting, name, monkeypatch, tmp_path):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in SETTINGS[setting].variables.items():
        monkeypatch.setenv(variable, value)
    assert run(Options("cpu", torch.device("cpu"), True, Budget(1), (), tmp_path)).variant == name
