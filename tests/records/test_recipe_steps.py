"""The benchmark that trains recipes for some steps."""

import json

import torch
from benchmarks.training.recipe_steps import backbone, steps
from torch import nn


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
