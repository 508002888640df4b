"""Parse arguments for Lightning with jsonargparse, and report its errors in one line with a suggestion."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import lightning
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from involution.cli.errors import UserError, did_you_mean
from involution.cli.lightning.messages import explain
from involution.cli.lightning.options import SPELLINGS
from involution.cli.lightning.recipes import RECIPES
from involution.cli.yaml_values import UnboundedError, load_yaml
from involution.weights import check_regular

LARGEST = 2**20  # bytes of a configuration


def parse(parser: LightningArgumentParser, arguments: Sequence[str]) -> Any:
    """Parse arguments.

    Raises:
        UserError: a configuration is not a YAML mapping, or an argument is unknown or has a wrong value.
    """
    arguments = [_shipped(option, value) for option, value in zip(["", *arguments], arguments, strict=False)]
    for option, value in _values(arguments):
        _check_value(option, value)
        if option in ("--config", "-c"):
            _check_configuration(value)
    try:
        config = parser.parse_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(explain(str(error), _options(parser, arguments))) from error
    for name, path in _texts(config):
        # jsonargparse would call any function for an optimizer; names without a module are those of our classes.
        if name == "class_path" and "." in path and not isinstance(resolve_name(path), type):
            raise UserError(f"class_path: expected the name of a class, got {path!r}")
    return config


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a configuration with its name."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, name)
    elif isinstance(value, Namespace | dict):
        for key, item in (vars(value) if isinstance(value, Namespace) else value).items():
            yield from _texts(item, str(key))


@contextmanager
def trainer_mistakes() -> Iterator[None]:
    """Convert Lightning's exceptions about trainer arguments, and that of a batch norm, into user errors."""
    try:
        yield
    except (MisconfigurationException, ValueError) as error:
        if str(error).startswith("Expected more than 1 value per channel"):
            raise UserError("data.batch_size: expected at least 2, which batch norm needs, got 1") from error
        if not isinstance(error, MisconfigurationException) and not _by_lightning(error):
            raise
        reason = " ".join(str(error).split())
        if "gpu" in reason.lower() or "cuda" in reason.lower():
            raise UserError(f"trainer.accelerator: expected a device of this machine, got a GPU ({reason})") from error
        raise UserError(f"trainer: {reason}") from error


def _by_lightning(error: Exception) -> bool:
    """Return whether code of Lightning itself raised an error."""
    raised = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(raised).is_relative_to(Path(lightning.__file__).parent)


@contextmanager
def trainer_arguments() -> Iterator[None]:
    """Convert every ValueError into a user error: those of Lightning's constructor are about its arguments."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"trainer: {error}") from error


def create_trainer(**arguments: Any) -> Trainer:
    """Return a trainer.

    Raises:
        UserError: the arguments are inconsistent, or request a device that this machine does not have.
    """
    with trainer_mistakes(), trainer_arguments():
        return Trainer(**arguments)


def _shipped(option: str, value: str) -> str:
    """Return the path of a configuration that ships with the package, if its name follows `--config`."""
    prefix = "--config=" if value.startswith("--config=") else ""
    name = value.removeprefix(prefix)
    if (prefix or option in ("--config", "-c")) and name in RECIPES and not Path(name).is_file():
        return prefix + str(RECIPES[name])
    return value


def _values(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield every option with its value."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if before.startswith("-") and not argument.startswith("--"):
            yield before, argument
        elif option.startswith("--") and equals:
            yield option, value


def _check_value(option: str, value: str) -> None:
    """Check what jsonargparse would do with a value: it reads a file of that name, or walks the value as YAML."""
    check_regular(value, option)
    try:
        load_yaml(value)
    except UnboundedError as error:
        raise UserError(f"{option}: expected values that end, got YAML with {error}") from None
    except yaml.YAMLError:  # another text
        pass


def _check_configuration(path: str) -> None:
    if not Path(path).is_file():
        hint = did_you_mean(path, RECIPES)
        raise UserError(
            f"--config: expected a file or one of `involution recipes`, got {path}, which is not a file{hint}"
        )
    if (size := Path(path).stat().st_size) > LARGEST:
        raise UserError(f"--config: expected at most {LARGEST >> 10} KiB, got {path} of {size >> 10} KiB")
    try:
        content = load_yaml(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"--config: expected a YAML file, got {path}, which is no text") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).replace("<unicode string>", path).split())
        raise UserError(f"--config: expected a YAML file, got {path} ({reason})") from None
    if not isinstance(content, dict):
        raise UserError(f"--config: expected a YAML mapping, got {path} with {type(content).__name__}")
    for name, text in _texts(content):  # jsonargparse reads the file that a text names
        check_regular(text, name)


def _options(parser: LightningArgumentParser, arguments: Sequence[str]) -> set[str]:
    """Return the options of a parser and of the command that the arguments name."""
    options = {*parser._option_string_actions, *SPELLINGS}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and arguments and arguments[0] in action.choices:
            options |= set(action.choices[arguments[0]]._option_string_actions)
    return options
