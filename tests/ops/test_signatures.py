"""The compiled library defines the operators with the signatures of this package."""

import os
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


@pytest.mark.slow
@pytest.mark.skipif(not cpu.status()["loaded"], reason="the operator library is not built")
def test_the_library_defines_every_operator():
    subprocess.run([sys.executable, "-c", LOADED, cpu.LIBRARY, *SIGNATURES], check=True)


def test_a_library_of_other_signatures_is_refused(monkeypatch):
    monkeypatch.setitem(SIGNATURES, "involution2d", "(Tensor x) -> Tensor")
    with pytest.raises(ImportError, match=r"expected involution::involution2d\(Tensor x\) -> Tensor, got .*compile"):
        schema.operator("involution2d")


@pytest.mark.slow
def test_an_unknown_instruction_set_is_refused():
    environment = {**os.environ, "INVOLUTION_CPU": "avx-512"}
    done = subprocess.run([sys.executable, "-c", "import involution"], env=environment, capture_output=True, text=True)
    assert (
        "INVOLUTION_CPU: expected one of reference, baseline, avx2, avx512, avx512_bf16, amx, got 'avx-512'"
        in done.stderr
    )


@pytest.mark.slow
def test_an_empty_variable_selects_nothing():
    program = "from involution.ops import cpu; print(cpu.status()['instruction_set'])"
    found = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True).stdout
        for environment in (
            {k: v for k, v in os.environ.items() if k != "INVOLUTION_CPU"},
            {**os.environ, "INVOLUTION_CPU": ""},
        )
    ]
    assert found[0] == found[1] != ""
