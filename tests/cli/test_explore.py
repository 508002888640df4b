"""Errors of the command line. The page is tested in tests/explore."""

import os
import socket

import pytest
from test_mistakes import complains

from involution.cli import explore


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "99999"), "--port: expected 1 to 65535, got 99999"),
        (("--port", "near"), "argument --port: invalid int value: 'near'"),
        (("--checkpoints", "gone"), "--checkpoints: expected a folder, got gone, which is not a folder"),
        (("--checkpoints", "."), "--checkpoints: expected files ending in .ckpt, .*, got . with none"),
    ],
    ids=str,
)
def test_mistakes(run, arguments, message):
    assert complains(run("explore", *arguments), message)


def test_a_taken_port(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert complains(run("explore", "--port", port), f"--port: expected a free port, got {port}, which another")


def test_checkpoints_of_runs_are_offered_the_newest_first(tmp_path):
    names = ["version_1/last.ckpt", "version_1/best.ckpt", "version_0/best.ckpt", "version_0/notes.txt"]
    for age, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert list(explore._newest(tmp_path)) == ["version_1/best.ckpt", "version_1/last.ckpt", "version_0/best.ckpt"]
    assert explore._newest(tmp_path / "gone") == {}


def test_without_gradio(run, monkeypatch):
    monkeypatch.setattr(explore, "find_spec", lambda name: None)
    assert complains(run("explore"), "explore: expected the package gradio, got none")


def test_curves(run, tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,val/loss\n0,9,2.0\n")
    assert run("curves", tmp_path, "--out", "curves.svg").status == 0
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    assert complains(run("curves", "gone", "--out", "a.svg"), "run: expected a folder of .*, got gone, which")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\xff")
    assert complains(run("curves", "a.png", "--out", "a.svg"), "run: expected a CSV log of a training, got a.png")
    (tmp_path / "b.svg").mkdir()
    assert complains(run("curves", tmp_path, "--out", "b.svg"), "--out: expected a file, got b.svg, which is a folder")
    assert complains(run("curves", tmp_path, "--out", "a.txt"), "--out: expected a file ending in .*, got a.txt")
