"""Mutation tests: change the code, one line at a time, and check that a test fails.

    python tests/mutations.py [NAME ...]

Each mutation of mutations.toml replaces a text in a copy of the sources and runs the tests that guard it. Prints a
Markdown table; the exit status is 1 if a mutation survives. C++ is compiled without optimization, for one instruction
set only, so that a mutation takes about a minute.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from involution.ops.signatures import MACRO

ROOT = Path(__file__).parents[1]
CPU = Path("src/involution/ops/cpu")
INSTRUCTION_SET = "avx512"


@dataclass(frozen=True)
class Mutation:
    """Replace `old` by `new` in `file`, and run `tests`, arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: str


with Path(__file__).with_suffix(".toml").open("rb") as file:
    MUTATIONS = [Mutation(**entry) for entry in tomllib.load(file)["mutation"]]


def main(names: list[str]) -> int:
    """Run the named mutations, or all; return 1 if one survives."""
    known = {mutation.name: mutation for mutation in MUTATIONS}
    if unknown := sorted(set(names) - known.keys()):
        print(f"NAME: expected some of {', '.join(known)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    survived = 0
    print("| mutation | file | noticed by |\n| --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder)
        for part in ("src", "tests", "benchmarks", "configs", "results", "pyproject.toml"):
            source = ROOT / part
            shutil.copytree(source, copy / part) if source.is_dir() else shutil.copy(source, copy / part)
        objects = Objects(copy)
        for mutation in [known[name] for name in names] or MUTATIONS:
            noticed = try_one(mutation, copy, objects)
            survived += noticed is None
            file = mutation.file.removeprefix("src/involution/")
            print(f"| {mutation.name} | `{file}` | {noticed or '**nothing**'} |", flush=True)
    return int(survived > 0)


def try_one(mutation: Mutation, copy: Path, objects: Objects) -> str | None:
    """Apply a mutation, run its tests, undo it; return the test that failed, if any."""
    path = copy / mutation.file
    original = path.read_text()
    if original.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.name}: expected its text once in {mutation.file}, got {original.count(mutation.old)}"
        )
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        if path.suffix in (".h", ".cpp"):
            objects.link(path)
        return failure(mutation, copy)
    finally:
        path.write_text(original)
        if path.suffix in (".h", ".cpp"):
            shutil.copy(ROOT / CPU / "_kernels.so", copy / CPU / "_kernels.so")


def failure(mutation: Mutation, copy: Path) -> str | None:
    """Run the tests of a mutation; return the first that failed, or None."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
    command = [sys.executable, "-m", "pytest", *options, *shlex.split(mutation.tests)]
    environment = {**os.environ, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    if done.returncode not in (1, 2) and done.returncode >= 0:
        raise RuntimeError(f"{mutation.name}: {shlex.join(command)}\n{done.stdout}{done.stderr}")
    failed = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return f"`{failed[0].partition(' ')[2]}`" if failed else "the process died"


class Objects:
    """The compiled sources of a copy; only those that a mutation touches are compiled again."""

    def __init__(self, copy: Path) -> None:
        self.copy, self.folder = copy, copy / "objects"
        self.built: dict[Path, Path] = {}

    def link(self, mutated: Path) -> None:
        """Build the library with a mutated file."""
        bindings = mutated.suffix == ".cpp" or mutated.name in ("arguments.h", "tensors.h")
        objects = []
        for source in sorted((self.copy / CPU).rglob("*.cpp")):
            touched = source == mutated or ("binding" in source.name) == bindings
            if not touched or ("binding" not in source.name and source.stem != INSTRUCTION_SET):
                if source not in self.built:
                    self.built[source] = self.compile(ROOT / source.relative_to(self.copy), source)
                objects.append(self.built[source])
            else:
                objects.append(self.compile(source, source.with_suffix(".mutated")))
        from torch.utils.cpp_extension import library_paths

        libraries = [f"-L{path}" for path in library_paths()]
        target = self.copy / CPU / "_kernels.so"
        target.unlink()
        subprocess.run(["g++", "-shared", *objects, *libraries, "-ltorch_cpu", "-o", target], check=True)

    def compile(self, source: Path, name: Path) -> Path:
        """Compile one source file."""
        from torch.utils.cpp_extension import include_paths

        self.folder.mkdir(exist_ok=True)
        target = self.folder / f"{'-'.join(name.relative_to(self.copy / CPU).parts)}.o"
        options = ["-std=c++20", "-O0", "-fPIC", "-fvisibility=hidden", "-w", f"-D{'='.join(MACRO)}"]
        folders = [f"-I{path}" for path in include_paths()]
        subprocess.run(["g++", *options, *folders, "-c", source, "-o", target], check=True)
        return target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
