"""Compare weights with their network before memory is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn


def differences(ours: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """Return a sentence for every tensor that is missing, unexpected, or of another shape, in the order of names."""
    expected = {name: tuple(value.shape) for name, value in ours.items()}
    got = {name: tuple(value.shape) for name, value in weights.items()}
    found = []
    for name in sorted(expected.keys() | got.keys()):
        if name not in got:
            found.append(f"{name} is missing")
        elif name not in expected:
            found.append(f"{name} is unexpected")
        elif expected[name] != got[name]:
            found.append(f"{name} is {got[name]}, not {expected[name]}")
    return found


def require_fit(
    network: nn.Module, weights: Mapping[str, Tensor], source: str | Path, argument: str = "checkpoint"
) -> None:
    """Raise unless names and shapes of the weights are those of the network, which may be on the meta device.

    Raises:
        ValueError: they are not; the message has the number of differences and the first of them.
    """
    if found := differences(network.state_dict(), weights):
        raise ValueError(
            f"{argument}: expected the weights of the network, got {source}, in which {len(found)} differ: {found[0]}"
        )
