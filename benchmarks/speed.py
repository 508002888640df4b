"""Measure speed and memory on this machine and write them to results/measured.

    python benchmarks/speed.py --device cpu [--parts operator layer ...]
    python benchmarks/speed.py --device cuda

`--dry-run` goes through all of it on tiny shapes, without the GPU too, to see that it works; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

PARSER = argparse.ArgumentParser(description=__doc__.splitlines()[0])
PARSER.add_argument("--device", choices=["cpu", "cuda"], required=True)
PARSER.add_argument("--parts", nargs="*", default=[], help="of the CPU suite; all by default")
PARSER.add_argument("--plain-malloc", action="store_true", help="on the CPU: the allocator as it comes")
PARSER.add_argument("--budget", type=float, default=480, metavar="SECONDS", help="what does not fit is skipped (480)")
PARSER.add_argument("--out", type=Path, help="where to write; the default names the device")
PARSER.add_argument("--dry-run", action="store_true", help="tiny shapes, on the CPU where there is no GPU")


def main() -> None:
    """Run the suite of the device."""
    chosen = PARSER.parse_args()
    if chosen.dry_run and not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
    if chosen.device == "cpu":
        import speed_cpu

        return speed_cpu.run(chosen.parts, chosen.out, not chosen.plain_malloc)
    import speed_cuda

    speed_cuda.run(chosen.budget, chosen.out, chosen.dry_run)


if __name__ == "__main__":
    main()
