"""The table of the denoiser with predicted kernels."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean, stdev

from benchmarks.measuring.record import load
from benchmarks.tables.markdown import markdown, where


def filters() -> str:
    """Return the peak signal-to-noise ratio of each photograph before and after the filters: mean and spread."""
    record = load("accuracy/denoising")
    header = ["photograph", "noisy, dB", "best Gaussian, dB", "predicted kernels, dB", "± (seeds)"]
    lines = []
    for name in dict.fromkeys(row["photograph"] for row in record.rows):
        rows = record.all(photograph=name)
        values = {kind: [row[f"{kind}_psnr_db"] for row in rows] for kind in ("noisy", "gaussian", "predicted")}
        means = [f"{mean(found):.2f}" for found in values.values()]
        lines.append([name, *means, f"{stdev(values['predicted']):.2f}"])
    return markdown(header, lines) + where(record, f"{len(rows)} seeds", f"{record.settings['steps']} steps")


BLOCKS: dict[str, Callable[[], str]] = {"denoising": filters}
