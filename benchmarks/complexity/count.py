"""Parameters and arithmetic of every network that results/published.toml names.

Only shapes are computed, so the figures are the same on every machine.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import involution.models  # noqa: F401  (registers the networks)
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.tables.published import CONTROLS, PUBLISHED, key
from involution.models.counting.complexity import profile


def run(options: Options) -> Measured:
    """Count."""
    networks = {key(row): row for row in rows()}
    chosen = list(networks)[:1] if options.dry_run else list(networks)
    return Measured([{"network": name, **count(networks[name])} for name in chosen])


def count(row: Row) -> Row:
    """Return what the tables need of a network."""
    found = profile(row["model"], row.get("input_size"), **row.get("arguments", {}))
    frozen = found["trainable_params"] != found["params"]
    columns = ("params", *(["trainable_params"] if frozen else []), "macs", "published_flops")
    return {column: found[column] for column in columns}


def rows() -> Iterator[Row]:
    """Yield every published row that names a network, and the controls, of which nothing is published."""
    for table in tomllib.loads(PUBLISHED.read_text()).values():
        yield from (row for row in table.get("rows", []) if "model" in row)
    yield from ({"model": name} for name in CONTROLS)
