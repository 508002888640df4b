"""Count parameters and arithmetic of every network that results/published.toml names, and show them.

    python benchmarks/complexity.py

Writes results/measured/complexity.json, docs/images/accuracy.svg and the tables of README and docs. Nothing is
computed but shapes, so the figures are the same on every machine.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import accuracy_plot
import complexity_tables
import tables

import involution.models  # noqa: F401  (registers the networks)
from involution.models.counting.complexity import profile


def main() -> None:
    """Count, draw, write."""
    found = {complexity_tables.key(row): count(row) for row in rows()}
    complexity_tables.COUNTS.parent.mkdir(exist_ok=True)
    complexity_tables.COUNTS.write_text(json.dumps(found, indent=1) + "\n")
    accuracy_plot.draw(tables.ROOT / "docs/images/accuracy.svg")
    tables.write()


def count(row: dict[str, Any]) -> dict[str, Any]:
    """Return what the tables need of a network."""
    found = profile(row["model"], row.get("input_size"), **row.get("arguments", {}))
    frozen = found["trainable_params"] != found["params"]
    columns = ("params", *(["trainable_params"] if frozen else []), "macs", "published_flops")
    return {column: found[column] for column in columns}


def rows() -> Iterator[dict[str, Any]]:
    """Yield every published row that names a network, and the controls, of which nothing is published."""
    for table in tomllib.loads(complexity_tables.PUBLISHED.read_text()).values():
        yield from (row for row in table.get("rows", []) if "model" in row)
    yield from ({"model": name} for name in complexity_tables.CONTROLS)


if __name__ == "__main__":
    main()
