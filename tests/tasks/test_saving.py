"""Killed runs and full disks: checkpoints stay complete, and a resumed run ends with the same weights."""

import errno
import os

import pytest
import torch
from kill_points import KillPoint, reference, survives

from involution.tasks import saving
from involution.tasks.saving import AtomicCheckpointIO


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "runs/last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    return path


def is_unchanged(path):
    return torch.load(path)["step"] == 1 and [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_replaces_the_one_before(saved):
    assert is_unchanged(saved)
    AtomicCheckpointIO().save_checkpoint({"step": 2}, saved)
    assert torch.load(saved) == {"step": 2}


def test_only_checkpoints_of_the_run_are_removed(tmp_path):
    """A resumed checkpoint names those that Lightning removes when it saves better ones."""
    files = AtomicCheckpointIO()
    for name in ("runs/old.ckpt", "runs/new.ckpt"):
        files.save_checkpoint({"step": 1}, tmp_path / name)
    others = [tmp_path / name for name in ("other.ckpt", "runs/notes.txt", "runs/folder/a.txt")]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("of somebody else")
    for path in (*others, tmp_path / "runs/folder", tmp_path / "runs/../other.ckpt", f"local://{others[0]}"):
        files.remove_checkpoint(path)
    assert all(other.exists() for other in others)
    files.remove_checkpoint(str(tmp_path / "runs/old.ckpt"))
    assert [path.name for path in (tmp_path / "runs").glob("*.ckpt")] == ["new.ckpt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full stands for a full disk")
def test_a_full_disk(saved):
    (saved.parent / ".last.ckpt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"checkpoint: expected to write .* to .*last.ckpt, got No space left"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, saved)
    assert is_unchanged(saved)


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.EACCES, "Permission denied"), (errno.ESTALE, "Stale file handle"), (errno.EIO, "Input/output error")],
)
def test_lost_permission_and_vanished_drives(saved, monkeypatch, number, message):
    def write(file, data):
        file.write(data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(saving, "_write", write)
    with pytest.raises(OSError, match=rf"checkpoint: expected to write .* to .*last.ckpt, got {message}"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, saved)
    assert is_unchanged(saved)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
def test_killed_runs_resume_with_the_same_weights(tmp_path):
    """Between two checkpoints in mid-epoch, while one is being written, and before it gets its name."""
    expected = reference(tmp_path / "reference")
    points = [KillPoint("step", 8, 0), KillPoint("write", 2, 0.5), KillPoint("before rename", 4, 0)]
    assert [survives(point, tmp_path / str(i), expected) for i, point in enumerate(points)] == [True] * 3
