"""The command line of the benchmarks.

python -m benchmarks list
python -m benchmarks run NAME ... [--device cpu|cuda] [--dry-run] [--resume] [--within SECONDS]
python -m benchmarks render
python -m benchmarks check
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring.allocator import SETTINGS
from benchmarks.registry import BENCHMARKS, GROUPS, find


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 if `check` found a problem, 2 for an invalid argument."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    at = words.index("--") if "--" in words else len(words)
    parser = _parser()
    given = parser.parse_args(words[:at])
    given.words, given.arguments = words, words[at + 1 :]
    if given.arguments and given.action is not run:
        parser.error("arguments after --: expected none but for run")
    try:
        return int(given.action(given))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, record, and show the records.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="name the benchmarks")
    listing.set_defaults(action=show)
    running = commands.add_parser("run", help="measure and write records", epilog="Arguments after -- go to NAME.")
    running.add_argument("names", nargs="+", metavar="NAME", help="a benchmark or group of `list`")
    running.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    running.add_argument("--dry-run", action="store_true", help="tiny shapes, no GPU needed, nothing written")
    running.add_argument(
        "--budget", type=float, default=600, metavar="SECONDS", help="of each benchmark; what does not fit is skipped"
    )
    running.add_argument(
        "--allocator",
        choices=SETTINGS,
        default="default",
        help="glibc, one that keeps or returns freed memory, or huge pages",
    )
    running.add_argument(
        "--resume", action="store_true", help="skip benchmarks that have a record of this commit and device"
    )
    running.add_argument(
        "--within", type=float, metavar="SECONDS", help="start no benchmark that could end later than this"
    )
    running.add_argument("--out", type=Path, metavar="FOLDER", help="where records go instead of results/measured")
    running.set_defaults(action=run)
    rendering = commands.add_parser("render", help="fill the tables of README and docs, draw the pictures")
    rendering.set_defaults(action=render)
    checking = commands.add_parser("check", help="name old records, pages to render, and figures without a record")
    checking.set_defaults(action=check)
    return parser


def show(given: argparse.Namespace) -> int:
    """List the benchmarks."""
    for name, members in GROUPS.items():
        print(f"{name:<20} all of: {', '.join(members)}")
    for name, benchmark in BENCHMARKS.items():
        print(f"{name:<20} {benchmark.question} [{', '.join(benchmark.devices)}]")
    return 0


def run(given: argparse.Namespace) -> int:
    """Run benchmarks."""
    chosen = find(given.names, given.device)
    if given.dry_run and given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
    from benchmarks import running

    running.run(
        chosen,
        given.device,
        given.words,
        given.dry_run,
        given.budget,
        given.allocator,
        given.out,
        given.arguments,
        given.resume,
        given.within,
    )
    return 0


def render(given: argparse.Namespace) -> int:
    """Update the generated tables and pictures."""
    from benchmarks import rendering

    for path in rendering.render():
        print(f"written: {path}")
    return 0


def check(given: argparse.Namespace) -> int:
    """Print outdated records, pages to render and unsupported figures. Outdated records alone are not a failure."""
    from benchmarks import checking

    for line in checking.old_records():
        print(line)
    problems = checking.problems()
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems else 0
