"""User errors, each reported in one line; any other exception is a defect and keeps its traceback."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn


class UserError(ValueError):
    """A wrong argument, input or installation."""


EXTRAS = {
    **dict.fromkeys(("jsonargparse", "lightning", "matplotlib", "pycocotools", "safetensors", "sklearn"), "train"),
    **dict.fromkeys(("tensorboard", "timm", "torchmetrics", "torchvision", "yaml"), "train"),
    "gradio": "explore",
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "export"),
}
"""Packages that only some commands need, and the extra that installs them."""

# The pattern of messages about arguments, in the library and in the command line.
_GRAMMAR = re.compile(r"\S.*: expected .*, got ", re.DOTALL)

_LONGEST = 2000  # characters of a message

# Text that jsonargparse adds around the reason: the types that it tried, and the value that it received.
_NOISE = ("Does not validate", "Subtypes:", "Errors:", "- Expected a <class 'NoneType'>", "Given value", "- 'NoneType'")


class Parser(argparse.ArgumentParser):
    """A parser of arguments that raises instead of printing its usage, and takes no abbreviations."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise UserError(message + suggestion(message, self._option_string_actions))

    def add_input_size(self, **kwargs: Any) -> None:
        """Add `--input-size H W`; a single number is a square. The help is appended to that of the values."""
        kwargs["help"] = f"height and width of the image in pixels, or one number for both {kwargs['help']}"
        self.add_argument("--input-size", nargs="+", type=int, metavar="N", action=_InputSize, **kwargs)


class _InputSize(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        if len(values) > 2 or min(values) < 1:
            raise UserError(f"--input-size: expected one or two positive numbers, got {' '.join(map(str, values))}")
        setattr(namespace, self.dest, values * 2 if len(values) == 1 else values)


def is_mistake(error: BaseException) -> bool:
    """Return whether an error is caused by user input, and not by a defect of this package or another.

    Errors of the library about arguments follow one pattern; other errors of type ValueError are defects. An OSError
    with a number is about a file, a port or the disk.
    """
    if isinstance(error, OSError):
        return error.errno is not None
    if isinstance(error, UserError | argparse.ArgumentError):
        return True
    return isinstance(error, ValueError) and _GRAMMAR.search(str(error)) is not None


def one_line(error: BaseException) -> str:
    r"""Return the message of an error without line breaks, and without the worker process that it comes from.

    >>> one_line(ValueError("Caught ValueError in DataLoader worker process 0.\nOriginal Traceback\nValueError: why"))
    'why'
    """
    text = printable(_message(error))
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"


def printable(text: str) -> str:
    r"""Return text with escapes in place of characters that a terminal would obey or could not print.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Caught ") and "worker process" in lines[0]:
        lines = [lines[-1].partition(": ")[2]]
    return " ".join(line for line in lines if not line.startswith(_NOISE)).removeprefix("- ") or type(error).__name__


def missing_package(command: str, error: ModuleNotFoundError) -> UserError | None:
    """Return the error about a package that an extra would install; None if no extra does."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return UserError(
        f"{command}: expected the package {package}, got none; pip install 'involution[{EXTRAS[package]}]'"
    )


def suggestion(message: str, options: Iterable[str]) -> str:
    """Return a hint with the closest existing option if a message is about an unknown one.

    >>> suggestion("unrecognized arguments: --jsn", ["--json", "--help"])
    '; did you mean --json?'
    """
    unknown = re.search(r"(?i)unrecognized arguments?:?\s+'?(--[\w.+-]+)", message)
    return did_you_mean(unknown[1], options) if unknown else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint with the closest known word, or an empty string if none is close.

    >>> did_you_mean("trian", ["fit", "train"])
    '; did you mean train?'
    """
    # An underscore in place of a hyphen is the most frequent mistake.
    spelled = {name.replace("-", "_"): name for name in known}
    close = get_close_matches(word.replace("-", "_"), spelled, n=1)
    return f"; did you mean {spelled[close[0]]}?" if close else ""
