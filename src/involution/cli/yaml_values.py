"""YAML of users, who may have it from somebody else."""

from __future__ import annotations

from typing import Any

import yaml

from involution.weights.plain import is_small

ALIASES = 20
"""Largest number of aliases: each can repeat a part of the text, which has aliases itself."""


class UnboundedError(yaml.YAMLError):  # type: ignore[misc]  # yaml has no types
    """A text is YAML whose values might not be walked to an end."""


def load_yaml(text: str) -> Any:
    """Return the values of a text.

    Raises:
        yaml.YAMLError: it is no YAML, has other values than plain ones, or more than can be walked (`UnboundedError`).

    >>> load_yaml("{a: [1, x]}")
    {'a': [1, 'x']}
    """
    if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)) > ALIASES:
        raise UnboundedError(f"more than {ALIASES} aliases")
    try:
        values = yaml.safe_load(text)
    except RecursionError:
        raise UnboundedError("nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits, or a date that there is not
        raise yaml.YAMLError(str(error)) from None
    if not is_small(values):
        raise UnboundedError("too many or too large values")
    return values
