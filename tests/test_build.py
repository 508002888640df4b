"""The build of the extension: compiler failures, the tag of the wheel, and other processors."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SOURCES = (
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
    "src/involution/ops",
    "src/involution/layers",
    "src/involution/family",
)
COMPILER = """#!/bin/sh
echo "vector.h: In function f"
echo "vector.h:7:3: error: 'wide' does not name a type"
echo "vector.h:9:1: error: and more"
exit 1
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the sources without a compiled library."""
    for name in SOURCES:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.so", "__pycache__", "build_error.txt"))
        else:
            shutil.copy(source, target)
    shutil.copy(ROOT / "src/involution/__init__.py", tmp_path / "src/involution/__init__.py")
    return tmp_path


def python(*arguments, folder, **environment):
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def reason(folder):
    program = "from involution.ops import cpu; print(cpu.status()['reason'])"
    return python("-c", program, folder=folder, PYTHONPATH=str(folder / "src"), INVOLUTION_CPU="")


def test_a_compiler_that_fails_is_named_with_its_first_error(copy):
    compiler = copy / "old-g++"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    expected = "old-g++: vector.h:7:3: error: 'wide' does not name a type"
    printed = python("setup.py", "-q", "build_ext", "--inplace", folder=copy, CXX=str(compiler), CC=str(compiler))
    assert expected in printed
    built = next(copy.glob("build/lib*/involution/ops/cpu/build_error.txt"))
    assert expected in built.read_text()
    assert expected in reason(copy)


def test_a_compiler_that_is_not_there_is_named(copy):
    python("setup.py", "-q", "build_ext", "--inplace", folder=copy, CXX="no-such-g++", CC="no-such-g++")
    assert "the C++ extension was not built: no-such-g++: No such file or directory" in reason(copy)
    (copy / "src/involution/ops/cpu/build_error.txt").unlink()
    assert "install a C++ compiler" in reason(copy)


def test_one_wheel_for_every_python_of_a_platform(copy):
    python("setup.py", "-q", "bdist_wheel", folder=copy, CXX="no-such-g++", CC="no-such-g++")
    (wheel,) = (copy / "dist").glob("*.whl")
    tag = wheel.stem.split("-")[-3:]
    assert tag[:2] == ["py3", "none"] and tag[2] != "any"


def test_the_version_is_that_of_the_citation():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


COMPILERS = ("g++-11", "clang++", "aarch64-linux-gnu-g++")


@pytest.mark.parametrize("compiler", COMPILERS)
def test_compiles_with(compiler, tmp_path):
    """The loops for the oldest compiler that is supported, and for NEON, where 32 registers hold the widest tile."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
    source, output = ROOT / "src/involution/ops/cpu/baseline.cpp", tmp_path / "baseline.s"
    if compiler.startswith("aarch64"):
        subprocess.run([compiler, *flags, "-O1", "-S", source, "-o", output], check=True)
        assert len(re.findall(r"fm(?:la|ul)\s+v\d+\.4s", output.read_text())) > 1000
    else:
        subprocess.run([compiler, *flags, "-fsyntax-only", source], check=True)


SCRATCH = """
#include <stdint.h>
#include <stdlib.h>
struct OutOfMemory { int64_t bytes; };
#include "loops/memory.h"
int main(int, char** words) {
  const Scratch<float> memory(20);
  return memory.data[atoi(words[1])] > 1;
}
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_a_read_beyond_scratch_memory_is_reported_by_the_sanitizer(tmp_path):
    """The spare bytes of `Scratch` would hide it from `make asan`."""
    (tmp_path / "main.cpp").write_text(SCRATCH)
    options = ["-std=c++20", "-fsanitize=address", f"-I{ROOT / 'src/involution/ops/cpu'}", "main.cpp", "-o", "main"]
    subprocess.run(["g++", *options], cwd=tmp_path, check=True)
    reported = [
        b"AddressSanitizer" in subprocess.run([tmp_path / "main", str(at)], capture_output=True).stderr
        for at in (-1, 0, 19, 20, 51)
    ]
    assert reported == [True, False, False, True, True]
