"""Published values, and our counts of the same networks."""

from __future__ import annotations

import tomllib
from decimal import ROUND_HALF_UP, Decimal
from functools import cache

from benchmarks.measuring.options import Row
from benchmarks.measuring.record import ROOT, load

PUBLISHED = ROOT / "results" / "published.toml"
CONTROLS = [f"rednet{depth}{kind}" for depth in (26, 38, 50, 101, 152) for kind in ("", "_depthwise", "_inverted")]


def published(table: str) -> list[Row]:
    """Return the rows of a table of results/published.toml."""
    return list(tomllib.loads(PUBLISHED.read_text())[table]["rows"])


def key(row: Row) -> str:
    """Return the name of a row's network with its arguments, as in results/measured/complexity/complexity.json."""
    settings = {**row.get("arguments", {}), **({"input_size": row["input_size"]} if "input_size" in row else {})}
    return " ".join([row["model"], *(f"{name}={value}" for name, value in settings.items())])


@cache
def counts() -> dict[str, Row]:
    """Return our counts by network."""
    return {row["network"]: row for row in load("complexity/complexity").rows}


def counted(row: Row) -> Row:
    """Return our counts for a row: trainable parameters in millions, the others in G."""
    found = counts()[key(row)]
    params = found["trainable_params"] if "trainable_params" in found else found["params"]
    return {"params": params / 1e6, "flops": found["published_flops"] / 1e9, "macs": found["macs"] / 1e9}


def printed(value: float, decimals: int) -> str:
    """Round half up to two decimals and, for one decimal, again, as in the paper's tables."""
    rounded = Decimal(repr(value)).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return str(rounded.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def differs(row: Row, column: str) -> bool:
    """Whether our count differs from the printed value."""
    claim = str(row[column])
    return printed(counted(row)[column], len(claim.partition(".")[2])) != claim
