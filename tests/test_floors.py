"""Structure of the package: layered imports, light imports, small files."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for path in ROOT.glob("src/involution/**/*") if path.suffix in {".py", ".cpp", ".h"})
BUDGET = 300  # lines
FILES = 12  # in a folder, beside its sub-folders


def test_imports_go_down_only():
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
    assert "0 broken" in checked.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("involution", {"timm", "torchvision", "lightning", "torchmetrics", "matplotlib", "sklearn"}),
        ("involution.models", {"lightning", "torchmetrics", "matplotlib", "sklearn"}),
        ("involution.data", {"sklearn", "pandas"}),
        (
            "involution.cli",
            {"timm", "torchvision", "lightning", "torchmetrics", "matplotlib", "sklearn", "torch._dynamo"},
        ),
    ],
)
def test_importing_is_light(module, heavy):
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src/involution")))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= BUDGET


def test_folders_stay_small():
    endings = {".py", ".cpp", ".cu", ".h", ".md", ".yaml", ".toml", ".json", ".svg", ".png"}
    parts = ("src", "benchmarks", "tests", "docs", "results", "demo")
    files = [path for part in parts for path in (ROOT / part).rglob("*") if path.suffix in endings]
    count = Counter(path.parent for path in files)
    assert not {str(folder): number for folder, number in count.items() if number > FILES}


def test_no_file_is_a_drawer():
    drawers = {"utils", "helpers", "common", "misc", "base", "core"}
    assert not [path for path in SOURCES if path.stem in drawers]
