"""Convert weights between releases: read, recognize, check against the network, rename and write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from involution.models.counting.complexity import build
from involution.models.recognition import REDNETS, recognize
from involution.weights import (
    Renamed,
    check_destination,
    read_weights,
    require_fit,
    to_official,
    to_ours,
    write_weights,
)

STEM = "stem.1.conv2.conv"
STEM_GROUPS = 2


def convert(
    source: str | Path, out: str | Path, to: str = "involution", stem_kernel_size: int | None = None
) -> dict[str, Any]:
    """Convert a file of weights.

    Args:
        source: of the official release, the Paddle port, `involution fit`, or with our names.
        out: safetensors or PyTorch's format, by its ending.
        to: naming scheme of the result, "involution" or "official".
        stem_kernel_size: of the result, 3 or 7; None keeps that of the source. A stem of 3 becomes one of 7 by taps of
            zero around it, which leaves the function of the network unchanged.

    Returns:
        A report of plain values: source, out, from, to, network, options, notes, and for every tensor its names, shape
        and a note.

    Raises:
        ValueError: the file cannot be read or written, is of another network, lacks a tensor or has one too many, or
            has a stem of 7 where 3 is required.
    """
    if to not in ("involution", "official"):
        raise ValueError(f'to: expected "involution" or "official", got {to!r}')
    out = check_destination(out)
    saved = read_weights(source, "source")
    ours = to_ours(saved.weights)
    network, options = recognize(ours.weights)
    if not network:
        raise ValueError(f"source: expected weights of {', '.join(REDNETS)}, got {source} with others")
    notes = _fit_stem(ours, options, stem_kernel_size)
    require_fit(build(network, **options), ours.weights, source, "source")
    result = to_official(ours.weights) if to == "official" else ours
    write_weights(out, result.weights, _hparams(saved.hparams) if to == "involution" else None, nested=to == "official")
    return {
        "source": str(source),
        "out": str(out),
        "from": ours.release,
        "to": to,
        "network": network,
        "options": options,
        "notes": notes,
        "keys": [_key(name, value, ours, result) for name, value in result.weights.items()],
    }


def _key(name: str, value: Tensor, ours: Renamed, result: Renamed) -> dict[str, Any]:
    middle = name if result is ours else result.sources[name]
    return {
        "from": ours.sources[middle],
        "to": name,
        "shape": list(value.shape),
        "note": ours.notes.get(middle, "") if result is ours else result.notes.get(name, ours.notes.get(middle, "")),
    }


def _fit_stem(renamed: Renamed, options: dict[str, Any], wanted: int | None) -> list[str]:
    """Convert the stem to the requested size; return a note about the change."""
    got = options.get("stem_kernel_size")
    released = {3: "as in the released classifiers", 7: "as in the released detectors and segmentors"}
    if wanted is None or got == wanted:
        return [f"the involution of the stem has a kernel of {got}, {released[got]}"] if got in released else []
    if wanted not in released:
        raise ValueError(f"stem_kernel_size: expected 3 or 7, got {wanted}")
    if got is None:
        raise ValueError(f"stem_kernel_size: expected none, because the source has no such stem, got {wanted}")
    if got > wanted:
        raise ValueError(f"stem_kernel_size: expected {got}, that of the source, got {wanted}; taps would be lost")
    for part in ("weight", "bias"):
        name = next(name for name in renamed.weights if name.endswith(f"{STEM}.{part}"))
        renamed.weights[name] = _widen(renamed.weights[name], got, wanted)
        renamed.notes[name] = f"kernel of {got} inside one of {wanted}, zero around it"
    options["stem_kernel_size"] = wanted
    return [f"the involution of the stem had a kernel of {got}; it is the centre of one of {wanted} with zeros around"]


def _widen(span: Tensor, size: int, wider: int) -> Tensor:
    """Put the taps of a window into the centre of a larger one: [G·K·K, ...] → [G·wider·wider, ...]."""
    margin = (wider - size) // 2
    inside = slice(margin, margin + size)
    taps = span.new_zeros(STEM_GROUPS, wider, wider, *span.shape[1:])
    taps[:, inside, inside] = span.unflatten(0, (STEM_GROUPS, size, size))
    return taps.flatten(0, 2)


def _hparams(hparams: Any) -> dict[str, Any] | None:
    """Return the hyperparameters of `involution fit` that prediction needs."""
    if not isinstance(hparams, dict):
        return None
    kept = ("network", "detector", "segmentor", "classes", "eval_transform", "options", "window")
    return {name: hparams[name] for name in kept if hparams.get(name) is not None}
