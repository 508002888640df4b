"""README's commands of make and pip. Its examples and the other commands run in test_pages.py."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, text in BLOCKS if language == "" for line in text.splitlines()]


def test_every_block_is_known():
    assert {language for language, _ in BLOCKS} == {"", "python", "bibtex"}
    assert {line.split()[0] for line in COMMANDS} == {"python3", "make", "pip", "involution"}


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make")])
def test_make_knows_its_targets(line):
    subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("pip")])
def test_pip_finds_what_is_asked_for(line):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    _, install, *targets = shlex.split(line)
    assert install == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = {*project["build-system"]["requires"], "--no-build-isolation"}
    for target in set(targets) - required:
        folder, _, names = target.partition("[")
        assert (ROOT / folder / "pyproject.toml").is_file()
        assert not names or names.rstrip("]") in extras
