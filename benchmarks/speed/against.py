"""This checkout beside another one: the same calls in one process of each, in turns.

    python -m benchmarks run against -- --before PATH

PATH is a checkout of this repository, with its C++ library compiled. Without it, this checkout is compared with itself,
which shows the noise. The calls are those that versions have in common; the benchmarks of the other one are not used.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import timm
import torch

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.record import ROOT, commit
from benchmarks.measuring.shapes import FORMATS, STAGES, TINY, images, operands
from benchmarks.measuring.timing import Work, interleaved

OPERATORS = ("forward", "grad x", "grad kernel", "spanned", "spanned backward")
LAYERS = ("layer, inference", "layer, training step")
NETWORK = "rednet50"
WORKS = (*OPERATORS, *LAYERS, NETWORK)
SAMPLE = 2e-3
"""Seconds of one sample; a turn has many of them."""


@dataclass(frozen=True)
class Case:
    """One call, on the shapes of a stage; a network has no stage."""

    work: str
    stage: int | None
    batch: int
    memory_format: str


def cases(works: Sequence[str], dry_run: bool) -> Iterator[Case]:
    """Yield the calls of these names; in a dry run those of a small shape."""
    stages, batches = ((TINY,), (1,)) if dry_run else (STAGES, (1, 16))
    if NETWORK in works and not dry_run:
        yield from (Case(NETWORK, None, batch, "channels last") for batch in batches)
    for layout, batch, stage, name in product(FORMATS, batches, stages, (*OPERATORS, *LAYERS)):
        if name in works:
            yield Case(name, stage.number, batch, layout)


class Version(subprocess.Popen[str]):
    """A process that imports `involution` from a checkout and times calls on request."""

    def __init__(self, checkout: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.speed.against"]
        environment = {**os.environ, "PYTHONPATH": f"{checkout / 'src'}{os.pathsep}{ROOT}"}
        pipes: Row = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        super().__init__(command, env=environment, cwd=ROOT, **pipes)
        package, self.instruction_set = self.ask({})
        if Path(package).parents[1] != checkout / "src" or self.instruction_set is None:
            raise ValueError(f"--before: expected a checkout with its C++ library compiled, got {checkout}")

    def ask(self, question: Row) -> Any:
        """Send a question; return the answer."""
        assert self.stdin and self.stdout
        self.stdin.write(json.dumps(question) + "\n")
        self.stdin.flush()
        return json.loads(self.stdout.readline())


def run(options: Options) -> Measured:
    """Time every call in both versions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run against --", description="Compare two versions.")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}; all by default")
    parser.add_argument("--before", type=Path, default=ROOT, help="the other checkout")
    parser.add_argument("--turns", type=int, default=7, help="of each version and call")
    parser.add_argument("--seconds", type=float, default=0.15, help="of a turn")
    given = parser.parse_args(list(options.arguments))
    turns, seconds = (2, 0.0) if options.dry_run else (given.turns, given.seconds)
    rows = []
    with Version(given.before.resolve()) as before, Version(ROOT) as after:
        head, dirty = commit(given.before)
        version = {"commit": head, "dirty": dirty, "instruction_set": before.instruction_set}
        for case in cases(given.works or WORKS, options.dry_run):
            least = 0.2 * case.batch if case.work == NETWORK else 0.05
            if options.budget.allows(", ".join(map(str, asdict(case).values())), 2 * turns * (seconds + least)):
                question = {"case": asdict(case), "seconds": seconds, "tiny": options.dry_run}
                times = [(before.ask(question), after.ask(question)) for _ in range(turns)]
                rows.append({**asdict(case), **compared(times)})
    return Measured(rows, {"before": version, "turns": turns, "seconds_of_a_turn": seconds})


def compared(times: list[tuple[float, float]]) -> Row:
    """Return the columns of a record from the seconds before and now, a pair for every turn."""
    before, now = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    low, ratio, high = statistics.quantiles((b / a for a, b in times), n=4, method="inclusive")
    row = {"before_ms": before, "median_ms": now, "ratio": ratio}
    return {**row, "lower_quartile": low, "upper_quartile": high}


def work(case: Case, tiny: bool) -> Work:
    """Return the call."""
    memory_format, ops = FORMATS[case.memory_format], torch.ops.involution
    if case.stage is None:
        model = timm.create_model(NETWORK).eval().to(memory_format=memory_format)
        image = images(case.batch, 3, 224, memory_format)
        return torch.no_grad()(lambda: model(image))
    t = operands(TINY if tiny else STAGES[case.stage - 1], case.batch, memory_format)
    x, kernel, grad, geometry = t["x"], t["kernel"], t["grad"], t["geometry"]
    span = (t["reduced"], t["weight"], t["bias"], t["groups"], t["window"], *geometry)
    if case.work in LAYERS:
        from involution import Involution2d

        layer = Involution2d(x.shape[1], t["window"]).to(memory_format=memory_format)
        if case.work == LAYERS[0]:
            layer.eval()
            return torch.no_grad()(lambda: layer(x))
        inputs = [x.requires_grad_(), *layer.parameters()]
        return lambda: torch.autograd.grad(layer(x), inputs, grad)
    return {
        "forward": lambda: ops.involution2d(x, kernel, *geometry),
        "grad x": lambda: ops.involution2d_grad_x(grad, kernel, x.shape[2:], *geometry),
        "grad kernel": lambda: ops.involution2d_grad_kernel(grad, x, t["groups"], t["window"], *geometry),
        "spanned": lambda: ops.involution2d_spanned(x, *span),
        "spanned backward": lambda: ops.involution2d_spanned_backward(grad, x, *span),
    }[case.work]


def answer() -> None:
    """Answer questions from standard input: the package first, then the seconds of a call."""
    import involution.models  # registers the networks
    from involution.ops import cpu

    device = torch.device("cpu")
    for line in sys.stdin:
        question = json.loads(line)
        reply: Any = [involution.__file__, cpu.status()["instruction_set"]]
        if question:
            # The addresses of tensors affect the time of short calls: every turn allocates elsewhere.
            spacer = torch.empty(random.randrange(2**18))
            call = {"": work(Case(**question["case"]), question["tiny"])}
            reply = interleaved(call, device, question["seconds"], most=1000, sample=SAMPLE)[""].median
            del spacer
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    answer()
