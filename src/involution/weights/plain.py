"""A bound on the plain values of an untrusted file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, islice

# Levels of containers, values of one level, characters of its texts, and bits of an integer.
_LEVELS, _VALUES, _CHARACTERS, _BITS = 32, 10**6, 10**7, 64


def is_small(value: object) -> bool:
    """Return whether nested containers are small, every value counted as often as it is reached.

    A file of a few bytes can contain a list many times in another, or in itself: walking or printing it would not end.

    >>> many = ["x"]
    >>> for _ in range(30):
    ...     many = [many, many]
    >>> is_small([1, {"a": None}]), is_small(many)
    (True, False)
    """
    level = [value]
    for _ in range(_LEVELS):
        texts = sum(len(item) for item in level if isinstance(item, str))
        long = any(isinstance(item, int) and item.bit_length() > _BITS for item in level)
        if len(level) > _VALUES or texts > _CHARACTERS or long:
            return False
        level = list(islice(chain.from_iterable(map(_inside, level)), _VALUES + 1))
    return not level


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    return value if isinstance(value, list | tuple | set) else ()
