"""Random blocks and stems on CPU, for each instruction set, and for each way to multiply bfloat16.

python -m benchmarks run block-cases [-- CASES]
"""

from __future__ import annotations

import torch

from benchmarks.correctness import operator_cases
from benchmarks.measuring.options import Measured, Options

CASES = 1_000


def run(options: Options) -> Measured:
    """Divide the cases among the instruction sets; each runs in a separate process."""
    bfloat16 = {"avx512_bf16": torch.cpu._is_avx512_bf16_supported(), "amx": torch.cpu._is_amx_tile_supported()}
    more = tuple(name for name, supported in bfloat16.items() if supported)
    return operator_cases.divide(options, "drawn_blocks", CASES, more)
