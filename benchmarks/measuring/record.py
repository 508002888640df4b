"""The record of a benchmark: one JSON file in results/measured with the figures and their provenance."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import torch

from benchmarks.measuring import allocator
from benchmarks.measuring.options import Row
from involution.ops import cpu

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "results" / "measured"
SCHEMA = 1
VERSIONS = ("torch", "torchvision", "timm", "triton")


@dataclass(frozen=True)
class Record:
    """Figures and their provenance. None denotes values that were not recorded.

    Names of figures end with their unit: `_ms`, `_s`, `_mib`, `_bytes`, `_per_s`. `macs` are multiply-adds, and counts
    and ratios have no unit. Names with a slash are metrics as Lightning logs them: losses, and figures from 0 to 1.

    Attributes:
        schema: version of this layout.
        benchmark: its name in `python -m benchmarks list`.
        command: command line; paths of the machine are replaced by PATH.
        commit: the commit of the code that was measured.
        dirty: whether the code had uncommitted changes.
        machine: processor, threads, instruction set, allocator, GPU.
        versions: of Python and the libraries.
        settings: settings that hold for all rows, for example the batch size.
        skipped: cases that did not fit into the time budget.
        notes: further information for readers.
        rows: the figures.
    """

    schema: int
    benchmark: str
    command: str
    commit: str | None
    dirty: bool | None
    machine: Row
    versions: dict[str, str | None]
    settings: Row
    skipped: list[str]
    notes: str | None
    rows: list[Row]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            ValueError: the file has another layout.
        """
        found = json.loads(path.read_text())
        expected = [field.name for field in fields(cls)]
        if list(found) != expected or found["schema"] != SCHEMA:
            got = f"schema {found.get('schema')} with {list(found)}"
            raise ValueError(f"{path.name}: expected schema {SCHEMA} with {expected}, got {got}")
        return cls(**found)

    def write(self, path: Path) -> None:
        """Write the record as formatted JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def one(self, **columns: Any) -> Row:
        """Return the row that has these values; KeyError unless there is exactly one."""
        found = self.all(**columns)
        if len(found) != 1:
            raise KeyError(f"{self.benchmark}: expected one row with {columns}, got {len(found)}")
        return found[0]

    def all(self, **columns: Any) -> list[Row]:
        """Return the rows that have these values."""
        return [row for row in self.rows if all(row.get(name) == value for name, value in columns.items())]


def load(name: str) -> Record:
    """Read the record `results/measured/NAME.json`."""
    return Record.read(MEASURED / f"{name}.json")


def machine(device: torch.device) -> Row:
    """Describe the machine."""
    found: Row = {
        "architecture": platform.machine(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "instruction_set": cpu.status()["instruction_set"],
        "allocator": allocator.current().name,
        "gpu": None,
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        found |= {"gpu": gpu.name, "gpu_memory_gib": round(gpu.total_memory / 2**30)}
        found |= {"multiprocessors": gpu.multi_processor_count}
    return found


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def versions(device: torch.device) -> dict[str, str | None]:
    """Return the versions of Python and the libraries, None for those that are not installed."""
    found = {"python": platform.python_version(), **{name: _version(name) for name in VERSIONS}}
    if device.type == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit(checkout: Path = ROOT) -> tuple[str | None, bool | None]:
    """Return the commit of the code, and whether the code has uncommitted changes; None outside a git checkout."""
    head = git("rev-parse", "HEAD", at=checkout)
    changes = git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks", "configs", at=checkout)
    return head or None, bool(changes) if head else None


def git(*arguments: str, at: Path = ROOT) -> str:
    """Return the output of a git command in a checkout, empty if it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=at)
    return done.stdout.strip() if done.returncode == 0 else ""
