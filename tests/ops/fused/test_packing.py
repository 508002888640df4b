"""The layout of packed weights is stated in Python, which packs them, and in C++, which reads them."""

import re
from pathlib import Path

import pytest

from involution.ops import cpu
from involution.ops.fused import bottleneck, stem

SOURCES = [path for path in (cpu.LIBRARY.parent / "bottleneck").glob("*") if path.suffix in (".cpp", ".h")]


def values(name: str) -> set[int]:
    """Every value that the C++ sources give to a constant."""
    return {
        int(value)
        for source in SOURCES
        for definition in re.findall(r"constexpr int\w* ([^;]*);", Path(source).read_text(encoding="utf-8"))
        for value in re.findall(rf"\b{name} = (\d+)", definition)
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kPanel", bottleneck.PANEL),
        ("kPanelColumns", bottleneck.PANEL),
        ("kColumns", bottleneck.REGISTER),
        ("kChunk", bottleneck.CHUNK),
        ("kWindowRow", stem.WINDOW_ROW),
    ],
)
def test_both_languages_have_the_same_layout(name, value):
    assert values(name) == {value}
