"""jsonargparse's errors about options in our form: `--option: expected X, got Y`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from inspect import getmro, signature
from pkgutil import resolve_name

import torch
from lightning.pytorch import callbacks

from involution import data, tasks
from involution.cli.errors import did_you_mean, suggestion
from involution.cli.lightning.options import SPELLINGS

# What a message of jsonargparse contains, in the order of its nesting.
_KEY = re.compile(r'Parser key "([\w.]+)"')
_CLASS = re.compile(r"class_path(?: |=)'([\w.]+)'")
_REFUSED = re.compile(r"Option '([\w.]+)' is not accepted")
_NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
_TYPE = re.compile(r"Expected a <class '(int|float|bool|str)'>")
_LITERALS = re.compile(r"Expected a typing\.Literal\[([^\]]*)\]")
_VALUE = re.compile(r"(?:Given|Got) value: (?!NestedArg)(.*?)(?:\. Got value: .*)?$", re.MULTILINE)

_TYPES = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a text"}
_OURS = {theirs.removeprefix("--"): ours.removeprefix("--") for ours, theirs in SPELLINGS.items()}


def _classes(module: object, names: Iterable[str], base: type = object) -> list[str]:
    found = {name: getattr(module, name) for name in names}
    return [name for name, value in found.items() if isinstance(value, type) and issubclass(value, base)]


_KNOWN = {
    "model": _classes(tasks, tasks.__all__, tasks.Task),
    "data": _classes(data, data.__all__, data.DataModule),
    "schedule": _classes(tasks, tasks.__all__, tasks.Schedule),
    "optimizer": _classes(torch.optim, dir(torch.optim), torch.optim.Optimizer),
    "callbacks": callbacks.__all__,
}
"""Names of classes, by the last part of the option that takes one."""


def explain(message: str, options: Iterable[str]) -> str:
    r"""Return the message of an error of jsonargparse in our form, or unchanged if it is about something else.

    Args:
        message: of jsonargparse, on several lines.
        options: that exist, for suggestions.

    >>> explain('Parser key "trainer.max_epochs":\n  Expected a <class \'int\'>. Got value: x', [])
    '--trainer.max_epochs: expected an integer, got x'
    """
    keys = _KEY.findall(message)
    if not keys:
        return message + suggestion(message, options)
    option = ".".join(keys)
    option = f"--{_OURS.get(option, option)}"
    if refused := _REFUSED.search(message):
        path = _CLASS.findall(message)[-1:]
        owner, known = (path[0].rpartition(".")[2], _arguments(path[0])) if path else ("the class", [])
        hint = did_you_mean(refused[1], known)
        return f"{option}.{refused[1]}: expected an argument of {owner}, got {refused[1]}{hint}"
    types = _TYPE.findall(message)
    kinds = [_TYPES[name] for name in types if (name, "float" in types) != ("int", True)]
    if literals := _LITERALS.findall(message):
        kinds = [f"one of {', '.join(literals)}"]
    value = _VALUE.findall(message)
    if kinds and value:
        return f"{option}: expected {' or '.join(kinds)}, got {value[0]}"
    if (no_class := _NO_CLASS.search(message)) and (names := _KNOWN.get(keys[-1].rpartition(".")[2])):
        name = no_class[1]
        return f"{option}: expected the name of a class, got {name!r}{did_you_mean(name, names)}"
    return message


def _arguments(path: str) -> list[str]:
    """Return the arguments of a class and of its bases."""
    return [name for kind in getmro(resolve_name(path)) for name in signature(kind).parameters]
