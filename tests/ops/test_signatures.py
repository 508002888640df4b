"""The compiled library defines the operators with the signatures of this package."""

import subprocess
import sys

import pytest

from involution.ops import cpu, schema
from involution.ops.signatures import SIGNATURES

LOADED = """
import sys, torch
torch.ops.load_library(sys.argv[1])
for name in sys.argv[2:]:
    getattr(torch.ops.involution, name)
"""


@pytest.mark.skipif(not cpu.status()["loaded"], reason="the operator library is not built")
def test_the_library_defines_every_operator():
    subprocess.run([sys.executable, "-c", LOADED, cpu.LIBRARY, *SIGNATURES], check=True)


def test_a_library_of_other_signatures_is_refused(monkeypatch):
    monkeypatch.setitem(SIGNATURES, "involution2d", "(Tensor x) -> Tensor")
    with pytest.raises(ImportError, match=r"expected involution::involution2d\(Tensor x\) -> Tensor, got .*compile"):
        schema.operator("involution2d")
