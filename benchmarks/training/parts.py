"""Where the time of a training step goes, and what each part takes at least."""

from __future__ import annotations

import time
from collections import defaultdict
from math import prod

from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.peak import limits
from benchmarks.measuring.steps import Case, work
from benchmarks.measuring.timing import Work
from benchmarks.speed.entries import ENTRIES
from benchmarks.speed.networks import PAIR

SPANNED = "involution::involution2d_spanned"
NORMS = ("batch norms and ReLUs, forward", "batch norms and ReLUs, backward")
PARTS = {
    "aten::mkldnn_convolution": "convolutions, forward",
    "aten::convolution_backward": "convolutions, backward",
    "involution::pointwise_conv": "convolutions, forward",
    "involution::pointwise_conv_backward": "convolutions, backward",
    "aten::native_batch_norm": NORMS[0],
    "aten::native_batch_norm_backward": NORMS[1],
    "involution::batch_norm": NORMS[0],
    "involution::batch_norm_backward": NORMS[1],
    "aten::clamp_min": NORMS[0],
    "aten::clamp_min_": NORMS[0],
    "aten::threshold_backward": NORMS[1],
    "aten::add_": "sums and optimizer",
    "aten::mul_": "sums and optimizer",
    "Derivative_involution2d_spanned": "involutions, forward",
    SPANNED: "involutions, forward",
    f"{SPANNED}_backward": "involutions, backward",
}
"""Name in the profiler → part. What is not listed is the part `OTHER`."""
OTHER = "other"
MULTIPLY_ADDS = {
    "convolution": "convolutions, forward",
    "convolution_backward": "convolutions, backward",
    "involution2d_spanned": "involutions, forward",
    "involution2d_spanned_backward": "involutions, backward",
}
"""Operator → part whose bound is its multiply-adds; the bound of others is the reading and writing of their tensors."""


def run(options: Options) -> Measured:
    """Profile steps of both networks in turns and report the fastest step of each, the least disturbed one."""
    case = Case(16, "float32", "eager", "training")
    if options.dry_run:
        case = Case(2, "float32", "eager", "training", 32)
    limit = limits(options)
    steps = {name: work(ENTRIES[name].build(), case, options.device) for name in PAIR}
    multiply_adds = {name: _multiply_adds(step) for name, step in steps.items()}  # also warms up
    fastest: dict[str, dict[str, float]] = {}
    traffic: dict[str, dict[str, float]] = {}
    samples, end = 0, time.monotonic() + (0 if options.dry_run else 60)
    while not samples or time.monotonic() < end:
        samples += 1
        for name, step in steps.items():
            times, traffic[name] = _profiled(step)
            fastest[name] = min(times, fastest.get(name, times), key=lambda parts: parts["step"])
    rows: list[Row] = []
    macs_per_s = limit["macs_per_s"]["float32"]
    for name in PAIR:
        for part in [*dict.fromkeys(PARTS.values()), OTHER, "step"]:
            bound = None
            if part in MULTIPLY_ADDS.values():
                bound = macs_per_s and multiply_adds[name].get(part, 0) / macs_per_s
            elif part in traffic[name]:
                bound = traffic[name][part] / limit["copy_bytes_per_s"]
            milliseconds = 1e3 * fastest[name].get(part, 0.0)
            rows.append({"network": name, "part": part, "best_ms": milliseconds, "bound_ms": bound and 1e3 * bound})
    return Measured(rows, {"limits": limit, "batch": case.batch, "size_px": case.size, "samples": samples})


def _profiled(step: Work) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of the parts of one step, and the bytes that they read and write at least."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        begin = time.perf_counter()
        step()
        whole = time.perf_counter() - begin
    times: dict[str, float] = defaultdict(float)
    traffic: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages(group_by_input_shape=True):
        part = PARTS.get(event.key)
        if part is None:
            continue
        times[part] += 1e-6 * event.self_cpu_time_total
        if part not in MULTIPLY_ADDS.values():
            sizes = [prod(shape) for shape in event.input_shapes if shape]
            traffic[part] += 4 * event.count * (sum(sizes) + max(sizes, default=0))  # the output has the size of a map
    return {**times, OTHER: whole - sum(times.values()), "step": whole}, traffic


def _multiply_adds(step: Work) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter:
        step()
    counts = {str(op).split(".")[-1]: flops for op, flops in counter.get_flop_counts()["Global"].items()}
    return {part: counts[op] // 2 for op, part in MULTIPLY_ADDS.items() if op in counts}
