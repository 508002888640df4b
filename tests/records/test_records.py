"""Records of measurements: their layout, their age, and the figures in prose that they support."""

import dataclasses
import json

import pytest
import torch
from benchmarks import checking
from benchmarks.measuring import record
from benchmarks.measuring.peak import register_loop, share
from benchmarks.measuring.record import MEASURED, Record
from benchmarks.measuring.timing import Budget, interleaved
from benchmarks.registry import BENCHMARKS

PATHS = sorted(MEASURED.rglob("*.json"))
CPU = torch.device("cpu")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_record_has_the_layout_and_names_a_benchmark(path):
    found = Record.read(path)
    assert found.benchmark in BENCHMARKS
    assert found.rows
    assert {"processor", "threads", "instruction_set", "allocator", "gpu"} <= set(found.machine)
    assert {"python", "torch", "timm"} <= set(found.versions)


def test_a_record_is_read_as_it_was_written(tmp_path):
    found = Record.read(PATHS[0])
    found.write(tmp_path / "a" / "b.json")
    assert Record.read(tmp_path / "a" / "b.json") == found


@pytest.mark.parametrize("change", [{"schema": 0}, {"weather": "fine"}])
def test_another_layout_is_refused(change, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**json.loads(PATHS[0].read_text()), **change}))
    with pytest.raises(ValueError, match=r"x\.json: expected schema 1 with .*, got schema"):
        Record.read(path)


def test_rows_are_found_by_their_columns():
    found = dataclasses.replace(Record.read(PATHS[0]), rows=[{"a": 1, "b": 1}, {"a": 1, "b": 2}])
    assert found.one(b=2) == {"a": 1, "b": 2}
    assert len(found.all(a=1)) == 2
    with pytest.raises(KeyError, match=r"expected one row with \{'a': 1\}, got 2"):
        found.one(a=1)


class Repository:
    """Replacement for git: files committed since a record, and uncommitted files."""

    def __init__(self, changes="", uncommitted="", known="commit"):
        self.answers = {"log": changes, "status": uncommitted, "cat-file": known}
        self.asked = []

    def __call__(self, command, *arguments):
        self.asked.append((command, *arguments))
        return self.answers[command]


@pytest.mark.parametrize(
    ("repository", "change", "reason"),
    [
        (Repository(), {}, None),
        (Repository(), {"commit": None}, "its commit was not recorded"),
        (Repository(known=""), {}, "its commit abc is not in this repository"),
        (Repository("f00 Change\nbad Break"), {}, "2 commits since abc, the last: f00 Change"),
        (Repository(uncommitted=" M src/involution/ops/schema.py"), {}, "its code has uncommitted changes"),
        (Repository(), {"dirty": True}, "measured with uncommitted changes"),
    ],
)
def test_a_record_is_old_when_its_code_has_changed(repository, change, reason, monkeypatch):
    monkeypatch.setattr(checking, "git", repository)
    settings = {"config": "configs/digits.yaml"}
    found = dataclasses.replace(record.load("accuracy/digits"), commit="abc", dirty=False, settings=settings)
    assert checking.age(dataclasses.replace(found, **change)) == reason
    for asked in repository.asked[1:]:
        assert "configs/digits.yaml" in asked and "src/involution/models" in asked


def test_check_names_old_records_without_failing_for_them(monkeypatch):
    monkeypatch.setattr(checking, "git", Repository("f00 Change"))
    lines = checking.old_records()
    assert len(lines) == len(PATHS)
    assert "old: accuracy/digits.json: 1 commits since" in "\n".join(lines)


def test_every_figure_in_prose_has_a_record_or_names_its_source():
    assert not checking.problems()


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("It takes 5 ms.\n\nAnd 1.5x of 3 GB/s, 110 %.", [(1, "5 ms"), (3, "1.5x"), (3, "3 GB/s"), (3, "110 %")]),
        ("a\nfrom 2 to 3 seconds", [(2, "2 to 3 seconds")]),
        ("A 3x3 kernel on 224 x 224 pixels, 16 channels, K = 7, RedNet-50, sm_90.", []),
        (
            "Twice as fast, three times faster, two thirds of it.",
            [(1, "Twice as"), (1, "three times faster"), (1, "two thirds")],
        ),
        (
            "Half the time, a third of the memory.\n\nTen minutes.",
            [(1, "Half the time"), (1, "a third of the memory"), (3, "Ten minutes")],
        ),
        (
            "An accuracy of 78.35, 0.78 of its time, 10,000 cases, 6.2×, 1e-6.",
            [(1, x) for x in ("accuracy of 78.35", "0.78", "10,000", "6.2×", "1e-6")],
        ),
        (
            "A speedup of 5, 100 images/s, 15 M, 2-3x, 12 percent.",
            [(1, x) for x in ("speedup of 5", "100 images/s", "15 M", "2-3x", "12 percent")],
        ),
        ("It takes about a minute.", [(1, "about a minute")]),
        (
            "The second of two, Python 3.11, torch from 2.11 on, torch 2.11 and 2.15, half the window, computed twice.",
            [],
        ),
        ("`sleep 5 s`\n\n```\n5 ms\n```\n", []),
        ("It takes <!-- begin: x -->5 ms<!-- end: x -->.", []),
        ("<!-- source: a data sheet --> It copies 5 GB/s.\n\nAnd 6 GB/s.", [(3, "6 GB/s")]),
    ],
)
def test_figures_in_prose(text, figures, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert checking.unsupported(page) == figures


def test_works_are_timed_in_turns():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleaved(works, CPU, seconds=0, least=3, sample=0, warmup=0, before=lambda name: calls.append("before"))
    assert calls == ["before", "a", "before", "b"] * 4
    assert times["a"].samples == 3 and times["a"].best <= times["a"].low <= times["a"].median <= times["a"].high


def test_a_budget_names_what_it_skips():
    budget = Budget(10)
    assert budget.allows("short", 1) and not budget.allows("long", 100)
    assert budget.skipped == ["long"]


def test_the_multiply_add_loop_counts_what_it_does():
    loop = register_loop(10)
    assert loop is None or (loop() > 0 and loop() % (10 * torch.get_num_threads()) == 0)


def test_a_share_needs_a_limit_of_its_dtype():
    assert share({"macs_per_s": {"float32": 100.0}}, 50, "float32", 1.0) == 0.5
    assert share({"macs_per_s": {"float32": 100.0}}, 50, "bfloat16", 1.0) is None
    assert share({"macs_per_s": {"float32": None}}, 50, "float32", 1.0) is None
