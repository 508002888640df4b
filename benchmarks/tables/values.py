"""Generated figures in sentences, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.measuring.shapes import GROUP_CHANNELS, STAGES, WINDOW
from benchmarks.tables.speed.cpu import measured

BATCH, FLOAT32_BYTES = 16, 4
UNFOLD = ("rednet50, unfold, channels last", "rednet50, unfold, NCHW")


def ratio(mode: str, batch: int, *labels: str) -> float:
    """Return the float32 time of a network relative to ResNet-50, in its fastest form."""
    rows = measured("networks").all(mode=mode, batch=batch, dtype="float32")
    return min(float(row["ratio"]) for row in rows if row["network"] in labels)


def network(mode: str, batch: int, *labels: str) -> str:
    """Format that ratio."""
    return f"{ratio(mode, batch, *labels):.2f}x"


def kernels_per_value() -> str:
    """Return the kernel values per value of the feature map, K·K·G/C."""
    return f"{WINDOW**2 / GROUP_CHANNELS:.2f}"


def kernel_megabytes() -> str:
    """Return the size of the kernels of the first stage, for a batch of 16 in float32."""
    stage = STAGES[0]
    return f"{BATCH * stage.side**2 * stage.taps * FLOAT32_BYTES / 1e6:.0f} MB"


VALUES: dict[str, Callable[[], str]] = {
    "rednet50-eager-1": partial(network, "eager", 1, "rednet50"),
    "rednet50-eager-16": partial(network, "eager", 16, "rednet50"),
    "rednet50-compiled-16": partial(network, "compiled", 16, "rednet50"),
    "prepared-eager-16": partial(network, "eager", 16, "rednet50, prepared"),
    "prepared-compiled-16": partial(network, "compiled", 16, "rednet50, prepared"),
    "unfold-eager-16": partial(network, "eager", 16, *UNFOLD),
    "kernels-per-value": kernels_per_value,
    "kernel-megabytes": kernel_megabytes,
}
