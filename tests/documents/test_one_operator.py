"""The code on the page "One operator, many networks" runs."""

import re
from pathlib import Path


def test_code_runs(capsys):
    page = (Path(__file__).parents[2] / "docs/one-operator.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
        printed = re.findall(r"print\(.*\)  # (.*)", block)
        assert capsys.readouterr().out.splitlines() == printed
