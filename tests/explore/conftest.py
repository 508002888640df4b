"""Fixtures: a tiny network with involutions, small photographs, and the page."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from involution.explore import load_network
from involution.explore.explorer import Explorer, Source, photograph
from involution.explore.views import View


@pytest.fixture(scope="session")
def network(weights):
    return load_network(None, weights)


@pytest.fixture(scope="session")
def pictures():
    generator = torch.Generator().manual_seed(0)
    small = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in ((6, 9), (8, 8))]
    return {"wide": small[0].repeat_interleave(8, 1).repeat_interleave(8, 2), "square": small[1].repeat(1, 8, 8)}


@pytest.fixture(scope="session")
def explorer(weights, pictures):
    return Explorer({"two.ckpt": weights}, pictures)


@pytest.fixture
def view(weights, pictures):
    return View(Source(None, weights), photograph(pictures["wide"]))


@pytest.fixture(scope="session")
def server(weights, tmp_path_factory):
    """The command in a separate process, started in a folder with a secret."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "secret.txt").write_text("secret")
    (folder / "temporary").mkdir()
    (weights.parent / "unreadable.ckpt").write_text("no checkpoint")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "temporary"), "GRADIO_SHARE": "True"}
    environment |= {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_ALLOWED_PATHS": "/"}  # a user's settings for other pages
    command = [sys.executable, "-m", "involution", "explore", "--checkpoints", str(weights.parent)]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()[0]
    yield Server(address, process.pid, folder)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert list((folder / "temporary").iterdir()) == []


@pytest.fixture(scope="session")
def address(server):
    return server.address


class Server(NamedTuple):
    address: str
    pid: int
    folder: Path
