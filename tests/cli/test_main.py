import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from involution import cli


def test_entry_points():
    [script] = entry_points(group="console_scripts", name="involution")
    assert script.load() is cli.main
    module = subprocess.run([sys.executable, "-m", "involution", "--version"], capture_output=True, text=True)
    assert (module.returncode, module.stdout, module.stderr) == (0, version("involution") + "\n", "")


def test_help_lists_every_command(run):
    outcome = run("--help")
    assert outcome.status == 0
    assert all(f"\n  {name}" in outcome.out for name in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_every_command(run, command, capsys):
    with pytest.raises(SystemExit) as exit:
        run(command, "--help")
    assert exit.value.code == 0
    assert "--" in capsys.readouterr().out


def test_a_defect_of_ours_shows_where_it_comes_from(run, monkeypatch):
    monkeypatch.setattr(cli, "import_module", lambda name: {}["defect"])
    with pytest.raises(KeyError, match="defect"):
        run("info")
