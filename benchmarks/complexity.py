"""Count parameters and arithmetic of every network in results/published.toml and write what the tables show.

    python benchmarks/complexity.py

Writes results/measured/complexity.json and fills the tables of README and docs. Nothing is computed but shapes, so
the figures are the same on every machine.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import tables

import involution.models  # noqa: F401  (registers the networks)
from involution.models.complexity import profile


def main() -> None:
    """Count, write, fill."""
    found = {tables.key(row): profile(row["model"], **row.get("arguments", {})) for row in rows()}
    tables.COUNTS.parent.mkdir(exist_ok=True)
    tables.COUNTS.write_text(json.dumps(found, indent=1) + "\n")
    tables.write()


def rows() -> Iterator[dict[str, Any]]:
    """Yield every published row that names a network."""
    for table in tomllib.loads(tables.PUBLISHED.read_text()).values():
        yield from (row for row in table["rows"] if "model" in row)


if __name__ == "__main__":
    main()
