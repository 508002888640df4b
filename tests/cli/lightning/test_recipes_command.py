"""Configurations that ship with the package, by name."""

import pytest

from involution.cli.lightning.recipes import RECIPES


def test_list(run, configs):
    lines = run("recipes").out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in configs.glob("*.yaml"))
    assert all(len(line.split()) > 2 for line in lines)
    assert run("recipes", "--paths").out.split()[1] == str(next(iter(RECIPES.values())))


@pytest.mark.parametrize("given", [["digits"], ["--config", "digits"], ["--config=digits"]])
def test_a_recipe_by_name(run, given, capsys):
    with pytest.raises(SystemExit) as exit:
        run("fit", *given, "--print_config")
    assert exit.value.code == 0
    assert "Digits" in capsys.readouterr().out
