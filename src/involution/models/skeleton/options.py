"""Arguments of networks, which users type: checked in front of every builder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from numbers import Integral, Real
from typing import Any

from timm.layers import get_act_layer, get_norm_layer

SOURCES = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments of `timm.create_model` that are the source of weights and not a part of the architecture."""

LARGEST = 2**16
"""Largest number of channels of a layer, or of classes."""

_COUNTS = {"in_chans": 1, "num_classes": 0}
_RATES = ("drop_rate", "drop_path_rate")
_LAYERS = {"act_layer": get_act_layer, "norm_layer": get_norm_layer}


def check_options(options: Mapping[str, Any], argument: str = "options") -> None:
    """Check what can be known of arguments of a classifier or backbone without building it.

    Args:
        options: by name. None is left to the builder.
        argument: that an error names if it is about the source of weights.

    Raises:
        ValueError: an argument specifies the source of weights, or no network takes its value.

    >>> check_options({"in_chans": float("nan")})
    Traceback (most recent call last):
        ...
    ValueError: in_chans: expected finite numbers, got nan
    """
    if given := [name for name in SOURCES if name in options]:
        raise ValueError(
            f"{argument}: expected arguments of the architecture, got {', '.join(given)}; pass a file or DEFAULT as "
            "weights instead"
        )
    for name, value in options.items():
        if not all(map(isfinite, _numbers(value))):
            raise ValueError(f"{name}: expected finite numbers, got {value!r}")
        if name in _COUNTS and value is not None:
            check_counts(_COUNTS[name], **{name: value})
        if name in _RATES and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise ValueError(f"{name}: expected a number from 0 to 1, got {value!r}")
        if name == "global_pool" and not isinstance(value, str):
            raise ValueError(f"{name}: expected the name of a pooling, got {value!r}")
        if name in _LAYERS and isinstance(value, str):
            try:
                _LAYERS[name](value)
            except KeyError:
                raise ValueError(f"{name}: expected the name of a layer of timm, got {value!r}") from None


def check_counts(smallest: int = 1, **values: object) -> None:
    """Raise `ValueError` unless arguments are whole numbers from `smallest` to `LARGEST`."""
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or not smallest <= int(value) <= LARGEST:
            raise ValueError(f"{name}: expected a whole number from {smallest} to {LARGEST}, got {value!r}")


def _numbers(value: object) -> Iterator[Real]:
    if isinstance(value, Real):
        yield value
    elif isinstance(value, Mapping):
        yield from _numbers(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
