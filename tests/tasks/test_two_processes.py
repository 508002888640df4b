"""One step of every task with two processes, the second of which has no objects; and a process that dies."""

import subprocess
import sys
from pathlib import Path

import pytest
import same_results
import torch

SCRIPT = Path(__file__).with_name("two_processes.py")
KINDS = ["classification", "faster_rcnn", "mask_rcnn", "retinanet", "semantic_fpn", "upernet"]


def torchrun(dying, *kinds):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", SCRIPT]
    return subprocess.run([*command, str(dying), *kinds], capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_every_task_takes_the_same_step_in_two_processes():
    result = torchrun(-1, *KINDS)
    assert result.returncode == 0, result.stderr[-3000:]
    assert [line for line in result.stdout.splitlines() if line.startswith("step")] == [f"step of {k}" for k in KINDS]


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_with_its_traceback():
    result = torchrun(1, "classification")
    assert result.returncode != 0
    assert "ZeroDivisionError: division by zero" in result.stderr


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of two processes."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = SCRIPT.with_name("same_results.py")
    done = subprocess.run([*command, script, folder], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "results.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_processes_end_with_the_weights_of_one(results, monkeypatch, one_thread):
    """Seed and images per step are the same. Each image of an uneven validation set counts once."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    weights, figures = same_results.train(1)
    for name, value in weights.items():
        torch.testing.assert_close(results["weights"][name], value, rtol=0, atol=1e-6)
    assert results["figures"] == pytest.approx(figures, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", same_results.SHARDED)
def test_sharded_parameters_take_the_same_steps(results, kind):
    found = results[kind]
    assert found["same names"]
    assert found["share"] == pytest.approx(0.5, abs=0.01)
    if kind != "mask_rcnn":  # it draws proposals, which rounding changes
        assert found["difference"] < 1e-5
