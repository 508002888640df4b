"""The tables of README and docs are generated, and current."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
        yield importlib.import_module("tables")


@pytest.fixture(scope="module")
def complexity_tables(tables):
    return importlib.import_module("complexity_tables")


BLOCK = "before\n<!-- begin: classification -->\n{}<!-- end: classification -->\nafter\n"


def test_generated_blocks_are_current(tables):
    assert not list(tables.stale())


def test_every_block_can_be_generated(tables):
    for name, block in tables.BLOCKS.items():
        assert block().count("|\n") > 2, name


def test_a_stale_block_is_filled_and_a_current_one_is_left(tables):
    filled = tables.fill(BLOCK.format("| old |\n"))
    assert filled == BLOCK.format(tables.BLOCKS["classification"]())
    assert tables.fill(filled) == filled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin: weather -->\n<!-- end: weather -->\n", "block: expected one of .*, got 'weather'"),
        ("<!-- begin: classification -->\n", "block: expected every begin mark to have its end mark"),
        ("<!-- end: classification -->\n", "block: expected every begin mark to have its end mark"),
    ],
)
def test_errors(tables, text, message):
    with pytest.raises(ValueError, match=message):
        tables.fill(text)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (44.549, 1, "44.6"),
        (30.145, 1, "30.2"),
        (2.4402, 1, "2.4"),
        (7.847, 1, "7.9"),
        (34.0, 1, "34.0"),
        (9.2339, 2, "9.23"),
    ],
)
def test_rounding_is_the_papers(complexity_tables, value, decimals, text):
    assert complexity_tables.printed(value, decimals) == text


def test_a_difference_without_a_reason_is_an_error(complexity_tables, monkeypatch):
    row = {"label": "x", "model": "rednet50", "params": 1.0, "flops": 2.7, "top1": 0.0}
    monkeypatch.setattr(complexity_tables, "published", lambda table: [row])
    with pytest.raises(ValueError, match="params_note: expected one where counts differ and only there, got None"):
        complexity_tables.comparison("table1")


def test_the_plot_of_latency_is_current(tables):
    assert importlib.import_module("latency_plot").current()


def test_the_plot_shows_what_was_recorded(tables, monkeypatch):
    plot = importlib.import_module("latency_plot")
    found = plot.points()
    assert found["eager, batch 1"]["resnet50"] == (pytest.approx(4.09, abs=0.01), 1.0)
    assert found["eager, batch 16"]["rednet50"][0] == pytest.approx(2.65, abs=0.01)  # with the stem of 3 x 3
    monkeypatch.setattr(plot, "points", lambda: {**found, "eager, batch 1": {}})
    assert not plot.current()
