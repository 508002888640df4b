"""The Python examples of README give the outputs shown, and its commands run."""

import doctest
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from involution.cli import main

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line for language, text in BLOCKS if language == "" for line in text.splitlines()]


def test_every_block_is_known():
    assert PYTHON
    assert {language for language, _ in BLOCKS} == {"", "python"}
    assert {line.split()[0] for line in COMMANDS} == {"make", "pip", "involution"}


@pytest.mark.parametrize("text", PYTHON)
def test_python_gives_what_it_shows(text):
    test = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    assert test.examples
    assert doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(test).failed == 0


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make")])
def test_make_knows_its_targets(line):
    subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("pip")])
def test_pip_finds_what_is_asked_for(line):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    _, install, target = shlex.split(line)
    assert install == "install"
    folder, _, names = target.partition("[")
    assert (ROOT / folder / "pyproject.toml").is_file()
    assert not names or names.rstrip("]") in extras


@pytest.mark.slow
def test_commands_run_in_their_order(tmp_path, image_folder, draw_scenes, draw_masks, monkeypatch, capsys, one_thread):
    """Run training commands with one batch per epoch."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    Image.effect_noise((64, 64), 50).save(tmp_path / "digit.png")
    words = {"IMAGE": "digit.png", "FOLDER": str(image_folder), "SCENES": str(draw_scenes(tmp_path / "scenes"))}
    words["PEDESTRIANS"] = str(draw_masks(tmp_path / "masks", images=53))  # 50 are held out
    one = ("max_epochs", "limit_train_batches", "limit_val_batches", "check_val_every_n_epoch")
    short = [f"--trainer.{name}=1" for name in one]
    ran = 0
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        if program == "involution":
            arguments = [words.get(word, word) for word in arguments]
            if arguments[0] == "fit":
                arguments += [*short, "--data.batch_size=2"]
            assert main(arguments) == 0, capsys.readouterr().err
            ran += 1
    assert ran == sum(line.startswith("involution") for line in COMMANDS) > 5
