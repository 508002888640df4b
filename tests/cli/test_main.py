import contextlib
import re
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from involution import cli
from involution.cli.lightning.options import SPELLINGS, in_lightnings_spelling


@pytest.mark.slow
def test_entry_points():
    [script] = entry_points(group="console_scripts", name="involution")
    assert script.load() is cli.main
    module = subprocess.run([sys.executable, "-m", "involution", "--version"], capture_output=True, text=True)
    assert (module.returncode, module.stdout, module.stderr) == (0, version("involution") + "\n", "")


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_every_command(run, word):
    outcome = run(word)
    assert outcome.status == 0
    assert all(f"\n  {name}" in outcome.out for name in cli.COMMANDS)


OPTIONS = {
    "recipes": "--paths",
    "fit": "--checkpoint",
    "validate": "--checkpoint",
    "test": "--checkpoint",
    "predict": "--checkpoint",
    "info": "--json",
    "profile": "--input-size",
    "explain": "--pixel",
    "explore": "--port",
    "curves": "--out",
    "convert": "--stem-kernel-size",
    "export": "--dynamic",
}


def shown_by(run, capsys, *arguments):
    with contextlib.suppress(SystemExit):
        return run(*arguments).out
    return capsys.readouterr().out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_every_command_fits_a_screen(run, command, capsys):
    text = shown_by(run, capsys, command, "--help")
    assert text.startswith(f"usage: involution {command}")
    assert f"  {OPTIONS[command]} " in text
    assert text.count("\n") <= 40


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_the_short_help_names_only_options_that_there_are(run, command, capsys):
    """In Lightning's spelling; `--help-trainer` lists all of them."""
    short = set(re.findall(r"^ .*?(--[\w-]+)(?=[ ,])", shown_by(run, capsys, command, "--help"), re.MULTILINE))
    full = shown_by(run, capsys, command, "--help-trainer")
    assert "--trainer.max_epochs" in full
    spellings = SPELLINGS if command == "fit" else {}
    for option in in_lightnings_spelling(short - {"--help-trainer"}, spellings):
        assert option in full or option == "--data.batch_size", option  # of the class that the recipe names


@pytest.mark.parametrize(
    "defect",
    [KeyError("defect"), ValueError("not enough values to unpack"), OSError("cannot"), TypeError("a: expected")],
)
def test_a_defect_shows_where_it_comes_from(run, monkeypatch, defect):
    def fail(name):
        raise defect

    monkeypatch.setattr(cli, "import_module", fail)
    with pytest.raises(type(defect), match=str(defect.args[0])):
        run("info")


@pytest.mark.parametrize(
    "mistake", [ValueError("size: expected a number, got none"), OSError(13, "Permission denied", "a.png")]
)
def test_a_mistake_is_one_line_unless_asked_otherwise(run, monkeypatch, mistake):
    def fail(name):
        raise mistake

    monkeypatch.setattr(cli, "import_module", fail)
    outcome = run("info")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    with pytest.raises(type(mistake)):
        run("info", "--traceback")


@pytest.mark.parametrize("package", ["lightning", "matplotlib", "gradio", "timm"])
def test_a_package_that_is_missing(run, monkeypatch, package):
    def fail(name):
        raise ModuleNotFoundError(f"No module named {package!r}", name=f"{package}.part")

    monkeypatch.setattr(cli, "import_module", fail)
    extra = "explore" if package == "gradio" else "train"
    message = f"fit: expected the package {package}, got none; pip install 'involution[{extra}]'"
    assert run("fit") == (2, "", f"involution: error: {message}\n")


def test_a_module_of_ours_that_is_missing_is_a_defect(run, monkeypatch):
    def fail(name):
        raise ModuleNotFoundError("No module named 'involution.gone'", name="involution.gone")

    monkeypatch.setattr(cli, "import_module", fail)
    with pytest.raises(ModuleNotFoundError):
        run("fit")


def test_ctrl_c(run, monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    def end(name):
        try:
            interrupt(name)
        except KeyboardInterrupt:
            sys.exit(1)

    for way in (interrupt, end):
        monkeypatch.setattr(cli, "import_module", way)
        assert run("explain") == (130, "", "")
