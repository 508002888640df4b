"""`involution recipes`: list the configurations that ship with the package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import involution
from involution.cli.errors import Parser

RECIPES = {path.stem: path for path in sorted((Path(involution.__file__).parent / "configs").glob("*.yaml"))}
"""Files by name, as `involution fit NAME` and `--config NAME` take them."""


def run(command: str, arguments: Sequence[str]) -> None:
    """Print every name with the start of its description, or with `--paths` with the file."""
    parser = Parser(prog="involution recipes", description=__doc__)
    parser.add_argument("--paths", action="store_true", help="print where the files are, to copy and change them")
    given = parser.parse_args(arguments)
    width = max(map(len, RECIPES), default=0)
    for name, path in RECIPES.items():
        with path.open(encoding="utf-8") as file:
            title = re.split("[.:(]", file.readline().strip("# \n"))[0].strip()
        print(f"{name:{width}}  {path if given.paths else title}")
