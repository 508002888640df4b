"""Parameters and arithmetic of all networks in results/published.toml.

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
    """Count all networks."""
    networks = {key(row): row for row in rows()}
    chosen = list(networks)[:1] if options.dry_run else list(networks)
    return Measured([{"network": name, **count(networks[name])} for name in chosen])


def count(row: Row) -> Row:
    """Return the counts of a network that the tables use."""
    found = profile(row["model"], row.get("input_size"), **row.get("arguments", {}))
    frozen = found["trainable_params"] != found["params"]
    columns = ("params", *(["trainable_params"] if frozen else []), "macs", "published_flops")
    return {column: found[column] for column in columns}


def rows() -> Iterator[Row]:
    """Yield each published row that names a network, and the controls, which have no published values."""
    for table in tomllib.loads(PUBLISHED.read_text()).values():
        yield from (row for row in table.get("rows", []) if "model" in row)
    yield from ({"model": name} for name in CONTROLS)
