"""The code on the pages "One operator, many networks" and "Coming from another project" runs."""

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["one-operator", "coming-from"])
def test_code_runs(name, capsys):
    page = (Path(__file__).parents[2] / f"docs/{name}.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
        printed = re.findall(r"print\(.*\)  # (.*)", block)
        assert capsys.readouterr().out.splitlines() == printed
