"""The site is built without a warning: dead links and unknown names in the reference are errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in ("index", "reference/operators", "reference/command-line", "guide/swap"):
        assert (tmp_path / f"{page}.html").stat().st_size > 10_000
    assert "usage: involution fit RECIPE" in (tmp_path / "reference/command-line.html").read_text()
    assert "<math" in (tmp_path / "operator.html").read_text()
