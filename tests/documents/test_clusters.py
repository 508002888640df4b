"""The lines of docs/guide/clusters.md: the first runs, the others are read by the command line."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from involution.cli import main

PAGE = Path(__file__).parents[2] / "docs/guide/clusters.md"
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if "involution" in line]


@pytest.mark.slow
def test_the_first_line_trains_with_two_processes(tmp_path):
    program, *words = shlex.split(COMMANDS[0])
    assert program == "torchrun"
    short = [f"--trainer.limit_{stage}_batches=1" for stage in ("train", "val")]
    command = [sys.executable, "-m", "torch.distributed.run", *words, *short, "--trainer.max_epochs=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "UserWarning" not in done.stderr
    assert done.stdout.count("best.ckpt") == 1  # only the first process prints
    assert (tmp_path / "runs/digits/version_0/checkpoints/last.ckpt").exists()


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line.partition("involution ")[2][:30])
def test_every_line_is_understood(line, capsys, monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    words = shlex.split(line.partition("involution ")[2])
    with pytest.raises(SystemExit) as ended:
        main([*words, "--print_config"])
    assert ended.value.code == 0
    assert "default_root_dir" in capsys.readouterr().out
