"""Train the network of demo/denoise.py with several seeds; the first also draws docs/images/family/denoise.png."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.record import ROOT

DEMO = ROOT / "demo/denoise.py"
PICTURE = ROOT / "docs/images/family/denoise.png"
SEEDS = (0, 1, 2)


def run(options: Options) -> Measured:
    """Train and test with each seed."""
    demo = load()
    steps = 4 if options.dry_run else demo.STEPS  # the schedule of the learning rate needs a few
    rows: list[Row] = []
    for seed in SEEDS[:1] if options.dry_run else SEEDS:
        found, figure = demo.run(seed, steps)
        rows += [{"seed": seed, **row} for row in found]
        if seed == SEEDS[0] and not options.dry_run:
            figure.savefig(PICTURE, dpi=80, metadata={"Description": json.dumps(found)})
    settings = {"steps": steps, "batch": demo.BATCH, "crop": demo.CROP, "kernel": demo.KERNEL_SIZE, "noise": demo.NOISE}
    return Measured(rows, settings)


def load() -> ModuleType:
    """Return the demo, which is a script outside of all packages."""
    spec = spec_from_file_location(DEMO.stem, DEMO)
    assert spec and spec.loader
    module = sys.modules.setdefault(DEMO.stem, module_from_spec(spec))
    spec.loader.exec_module(module)
    return module
