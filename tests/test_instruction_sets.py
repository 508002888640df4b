"""The values of the operators again, with every instruction set of this machine but the best, and by the reference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from involution.ops import cpu

TESTS = Path(__file__).parent
FILES = (
    "ops/test_operators.py",
    "ops/fused/test_bottleneck.py",
    "ops/fused/test_pointwise.py",
    "family/test_axes.py",
    "family/test_softmax.py",
    "family/test_ska.py",
)
BLOCKS = "test_bottleneck and drawn and not many"
BFLOAT16 = "test_bottleneck and drawn and bfloat16"  # the instructions of the extensions
FAMILY = "(test_axes or test_softmax or test_ska) and values"
VALUES = f"test_operators and (values or strides) or test_pointwise and output or {FAMILY} or {BLOCKS}"
SETS = {
    "reference": f"test_operators and (registration or empty) or {FAMILY} or {BLOCKS}",
    "baseline": VALUES,
    "avx2": VALUES,
    "avx512": BFLOAT16,
    "avx512_bf16": BFLOAT16,
}

UNKNOWN = 99
RUN = f"""
import sys, pytest
from involution.ops import cpu
served = cpu.status()["instruction_set"] or "reference"
sys.exit(pytest.main(sys.argv[2:]) if served == sys.argv[1] else {UNKNOWN})
"""


@pytest.mark.slow
@pytest.mark.skipif(not cpu.status()["loaded"], reason="the extension was not built")
@pytest.mark.parametrize("name", SETS)
def test_values(name):
    served = name.removesuffix("_bf16")  # products of avx512 in bfloat16
    command = [sys.executable, "-c", RUN, served, "-q", "-x", *(TESTS / file for file in FILES), "-k", SETS[name]]
    done = subprocess.run(command, env={**os.environ, "INVOLUTION_CPU": name}, capture_output=True, text=True)
    if done.returncode == UNKNOWN:
        pytest.skip(f"this processor has no {name}")
    assert done.returncode == 0, done.stdout[-3000:]
