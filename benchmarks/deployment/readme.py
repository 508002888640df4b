"""Time of README's commands in a new clone.

    python -m benchmarks run readme -- --folder PATH

The clone has its own environment. Commands that have run in the folder before are not run again, so that an
interrupted measurement goes on. Downloads are part of the times of `pip`. IMAGE is a picture of the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.measuring.options import Measured, Options
from benchmarks.measuring.record import ROOT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
IMAGE = "docs/images/figure3.png"


def commands(page: str) -> list[str]:
    """Return the commands of a page, without those of `make`, which make the same environment again."""
    lines = [line for language, block in BLOCK.findall(page) if not language for line in block.splitlines()]
    return [line for line in lines if not line.startswith("make ")]


def run(options: Options) -> Measured:
    """Run the commands one after another; in a dry run only a listing of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run readme --", description="Time README's commands.")
    parser.add_argument("--folder", type=Path, help="of the clone (default: a temporary folder)")
    given = parser.parse_args(options.arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "clone"
        if not (folder / "README.md").exists():
            subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
        times = folder / "times.json"
        rows = json.loads(times.read_text()) if times.exists() else []
        for command in commands((folder / "README.md").read_text()):
            known = any(row["command"] == command for row in rows)
            if not known and options.budget.allows(command, 1):
                rows.append({"command": command, **({} if options.dry_run else _time(command, folder))})
                times.write_text(json.dumps(rows))
    return Measured(rows)


def _time(command: str, folder: Path) -> dict[str, float]:
    """Run a command as a shell does in which the environment is active; return its time and that of the processor."""
    bin = folder / ".venv/bin"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{bin.resolve()}:{environment['PATH']}"
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    words = command.replace("IMAGE", IMAGE)
    subprocess.run(["bash", "-c", words], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"duration_s": time.perf_counter() - start, "processor_s": computed}
