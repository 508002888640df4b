"""One step of every task with two processes, the second of which has no objects; and a process that dies."""

import subprocess
import sys
from pathlib import Path

import pytest

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
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_job_with_its_traceback(rank):
    result = torchrun(rank, "classification")
    assert result.returncode != 0
    assert "ZeroDivisionError: division by zero" in result.stderr
