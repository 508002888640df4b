"""Checks for outdated records, outdated pages, and figures that no record supports."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.measuring.record import MEASURED, ROOT, Record, git
from benchmarks.registry import BENCHMARKS
from benchmarks.rendering import MARKED, pages, stale

CODE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
NUMBER = r"\d+(?:[.,]\d+)*(?:e-?\d+)?"
UNIT = (
    r"(?:x|×|-?fold|\s?(?:[µunm]?s|sec|min|h|[KMG]i?B|B|%|[kMGT]|G?FLOPs?|fps)(?:/s)?"
    r"|[ -](?:(?:milli|micro)?seconds?|minutes?|hours?|days?|times|percent|(?:images|pixels|steps)(?:/s| per second)))"
)
WORD = r"(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|hundred)"
SHARE = r"(?:half|third|quarter|fifth|sixth|eighth|tenth|sixteenth)s?"
FIGURE = re.compile(
    "|".join(
        [
            rf"(?<![\w.,@/-]){NUMBER}(?:(?:\s+(?:to|and)\s+|[-–]){NUMBER})?{UNIT}(?![\w-])",
            r"(?<![\w.,@/-])\d+(?:\.\d+|(?:,\d{3})+|e-?\d+)(?!\w|\.\d)",
            r"\b(?:accuracy|top-1|top-5|AP|IoU|speed-?up|factor|ratio) (?:of |is )?\d+(?:\.\d+)?",
            rf"\b(?:twice|{WORD} times) (?:as|more|less|\w+er|the time)\b",
            rf"\b{WORD} {SHARE}\b",
            rf"\b(?:half|an? {SHARE}) (?:of )?(?:the|its|their) (?:time|memory|multiply-adds|parameters|speed)\b",
            rf"\b(?:about an?|half an?|{WORD}) (?:milliseconds?|seconds?|minutes?|hours?)\b",
        ]
    ),
    re.IGNORECASE,
)
"""A number with a unit of measurement, a decimal or large number, or a comparison in words; not 3x3 or 16 channels."""

VERSION = re.compile(
    r"\b(?:Python|torch|PyTorch|Triton|capability|section)(?: from)? \d[\d.]*(?: (?:and|to) \d[\d.]*)?"
)

COMMENT = re.compile(r"<!-- (?!source: ).*?-->", re.DOTALL)
SOURCE = re.compile(r"<!-- source: [^>]+ -->")
"""Says where the figures of its paragraph come from, when that is no record: a definition, a data sheet, a paper."""


def old_records() -> list[str]:
    """Return a line for each record whose code has changed since, or whose age is unknown."""
    lines = []
    for path in sorted(MEASURED.rglob("*.json")):
        reason = age(Record.read(path))
        if reason:
            lines.append(f"old: {path.relative_to(MEASURED)}: {reason}")
    return lines


def age(record: Record) -> str | None:
    """Return why a record is outdated, None if it is current."""
    if record.commit is None:
        return "its commit was not recorded"
    if not git("cat-file", "-t", record.commit):
        return f"its commit {record.commit[:9]} is not in this repository"
    paths = code_of(record)
    changes = git("log", "--oneline", f"{record.commit}..HEAD", "--", *paths).splitlines()
    if changes:
        return f"{len(changes)} commits since {record.commit[:9]}, the last: {changes[0]}"
    if git("status", "--porcelain", "--untracked-files=no", "--", *paths):
        return "its code has uncommitted changes"
    return "measured with uncommitted changes" if record.dirty else None


def code_of(record: Record) -> list[str]:
    """Return the paths, for git, of the code that a record depends on."""
    benchmark = BENCHMARKS[record.benchmark]
    other = "cpu" if record.machine["gpu"] or benchmark.folder == "gpu" else "cuda"
    config = record.settings.get("config")
    paths = [*benchmark.measures, benchmark.source, *([config] if config else [])]
    return [*paths, f":(exclude)src/involution/ops/{other}"]


def problems() -> list[str]:
    """Return a line for each page or picture to render, and for each figure that no record supports."""
    lines = [f"stale: {path.relative_to(ROOT)}; run: python -m benchmarks render" for path in stale()]
    for page in (*pages(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        lines += [f"{page.relative_to(ROOT)}:{line}: no record: {figure}" for line, figure in unsupported(page)]
    return lines


def unsupported(page: Path) -> list[tuple[int, str]]:
    """Return line and text of the figures in prose that are not in a generated block and do not name their source."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    text = page.read_text()
    for skipped in (MARKED, CODE, VERSION, re.compile(r"`[^`\n]*`"), re.compile(r"\$[^$]*\$"), COMMENT):
        text = skipped.sub(blank, text)
    found, start = [], 1
    for paragraph in re.split(r"(\n\s*\n)", text):
        if not SOURCE.search(paragraph):
            figures = FIGURE.finditer(paragraph)
            found += [(start + paragraph.count("\n", 0, at.start()), at[0].strip()) for at in figures]
        start += paragraph.count("\n")
    return found
