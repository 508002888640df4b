"""Hold out part of a labelled set, every class in proportion."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.model_selection import train_test_split

from involution.data.classification.data_module import Split

SEED = 0  # fixed, and not the seed of the run: results of different runs are on the same images


def hold_out(split: Split, fraction: float, argument: str) -> tuple[Split, Split]:
    """Return the rest and the `fraction` of the images that is held out.

    Raises:
        ValueError: `fraction` is not between 0 and 1, or leaves a class without images on either side; the message
            begins with `argument`.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"{argument}: expected a fraction between 0 and 1, got {fraction}")
    try:
        rest, held = train_test_split(
            range(len(split.labels)), test_size=fraction, stratify=split.labels, random_state=SEED
        )
    except ValueError as error:
        raise ValueError(f"{argument}: expected enough images of every class to split, got {error}") from None
    return _take(split, sorted(rest)), _take(split, sorted(held))


def _take(split: Split, indices: Sequence[int]) -> Split:
    return Split([split.items[i] for i in indices], [split.labels[i] for i in indices])
