"""Parameters and arithmetic of our networks equal what was published."""

import tomllib
from pathlib import Path

import pytest

import involution.models  # noqa: F401  (registers the networks)
from involution.models.complexity import profile

PUBLISHED = tomllib.loads((Path(__file__).parents[1] / "results/published.toml").read_text())


def label(row):
    return "-".join([row["model"], *(f"{key}={value}" for key, value in row.get("arguments", {}).items())])


@pytest.mark.parametrize("row", PUBLISHED["counted"]["rows"], ids=label)
def test_counts_equal_those_of_the_official_code_to_the_unit(row):
    found = profile(row["model"], **row.get("arguments", {}))
    assert (found["params"], found["published_flops"]) == (row["exact_params"], row["exact_flops"])


@pytest.mark.parametrize("row", PUBLISHED["readme"]["rows"], ids=label)
def test_counts_round_to_those_of_the_official_readme(row):
    found = profile(row["model"], **row.get("arguments", {}))
    assert round(found["params"] / 1e6, 2) == row["params"]
    assert round(found["published_flops"] / 1e9, 2) == row["flops"]
