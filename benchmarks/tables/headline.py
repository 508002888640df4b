"""The figures of README's first screen, each with its condition."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown
from benchmarks.tables.published import published
from benchmarks.tables.speed.cpu import measured
from benchmarks.tables.values import UNFOLD, ratio

BATCH = 16


def headline() -> str:
    """Return speed against the unfold formula and against ResNet-50, and correctness."""
    machine = measured("networks").machine
    condition = f"CPU, {machine['threads']} threads, {machine['instruction_set']}, float32, 224 x 224, batch {BATCH}"
    ours, unfold = ratio("eager", BATCH, "rednet50"), ratio("eager", BATCH, *UNFOLD)
    eager, compiled = (ratio(mode, BATCH, "rednet50, prepared") for mode in ("eager", "compiled"))
    cases = load("correctness/operator-cases").settings
    rows = [
        ["RedNet-50 with the unfold formula takes", f"{unfold / ours:.1f}x our time", f"inference, eager, {condition}"],
        [
            "RedNet-50 takes, of the time of ResNet-50",
            f"{eager:.2f}x eager, {compiled:.2f}x compiled",
            f"inference, RedNet-50 after `involution.models.prepare`, {condition}; compiled: both with frozen weights",
        ],
        [
            "Wrong results of the CPU operators",
            f"{cases['wrong']} of {cases['cases']:,}",
            "drawn shapes, strides, dilations, dtypes, layouts and instruction sets, against float64",
        ],
    ]
    return markdown(["", "measured", "condition"], rows, 3)


def paddle(batch: int) -> str:
    """Return the published time of PaddleClas's RedNet-50 relative to its ResNet-50."""
    rows = {row["label"]: row for row in published("paddleclas")}
    times = [rows[name]["gpu_by_batch"][str(batch)] for name in ("RedNet-50", "ResNet-50")]
    return f"{times[0] / times[1]:.1f}x"


def flops() -> str:
    """Return the published FLOPs of RedNet-50 relative to ResNet-50."""
    rows = {row["label"]: row["flops"] for row in published("table1")}
    return f"{rows['RedNet-50'] / rows['ResNet-50']:.2f}x"


BLOCKS: dict[str, Callable[[], str]] = {"headline": headline}
VALUES: dict[str, Callable[[], str]] = {"paddle-8": lambda: paddle(8), "rednet50-flops": flops}
