"""The tables of README and docs are generated, and current."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks/tables.py")
tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tables)

BLOCK = "before\n<!-- begin: classification -->\n{}<!-- end: classification -->\nafter\n"


def test_generated_blocks_are_current():
    assert not list(tables.stale())


@pytest.mark.parametrize("name", sorted(tables.BLOCKS))
def test_every_block_can_be_generated(name):
    assert tables.BLOCKS[name]().count("|\n") > 2


def test_a_stale_block_is_filled_and_a_current_one_is_left():
    filled = tables.fill(BLOCK.format("| old |\n"))
    assert filled == BLOCK.format(tables.classification())
    assert tables.fill(filled) == filled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin: weather -->\n<!-- end: weather -->\n", "block: expected one of .*, got 'weather'"),
        ("<!-- begin: classification -->\n", "block: expected every begin mark to have its end mark"),
        ("<!-- end: classification -->\n", "block: expected every begin mark to have its end mark"),
    ],
)
def test_errors(text, message):
    with pytest.raises(ValueError, match=message):
        tables.fill(text)
