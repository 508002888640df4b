"""Time of the inference of a classifier on the CPU of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch.utils.benchmark import Timer

from involution.layers import Involution2d
from involution.models.inference import prepare

ROUNDS = 3
SECONDS = 2.0
"""Least duration of the measurement of a network."""


def latency(name: str, input_size: Sequence[int] | None = None, **kwargs: Any) -> dict[str, Any]:
    """Measure the time of a forward pass of one image in float32, in eager mode and channels last.

    Args:
        name: of a classifier in timm's registry.
        input_size: height and width of the image in pixels; None is 224 x 224.
        kwargs: arguments of the network.

    Returns:
        threads; time_ms, the least of three medians; and with involutions prepared_time_ms, that of `prepare`.

    Raises:
        ValueError: the name is of a detector or segmentor.
    """
    if "/" in name:
        raise ValueError(f"name: expected a classifier to measure its time, got {name!r}")
    network = timm.create_model(name, **kwargs).eval().to(memory_format=torch.channels_last)
    images = torch.rand(1, kwargs.get("in_chans", 3), *(input_size or (224, 224)))
    images = images.contiguous(memory_format=torch.channels_last)
    networks = {"time_ms": network}
    if any(isinstance(module, Involution2d) for module in network.modules()):
        networks["prepared_time_ms"] = prepare(network, images)
    threads = torch.get_num_threads()
    found: dict[str, Any] = {"threads": threads}
    with torch.inference_mode():
        for _ in range(ROUNDS):  # in turns, because other programs also compute now and then
            for column, measured in networks.items():
                timer = Timer("network(images)", globals={"network": measured, "images": images}, num_threads=threads)
                median = timer.blocked_autorange(min_run_time=SECONDS / ROUNDS).median * 1e3
                found[column] = min(median, found.get(column, median))
    return found
