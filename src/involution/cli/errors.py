"""A user's mistakes, in one line each."""

from __future__ import annotations

import argparse
from typing import NoReturn

MISTAKES = (ValueError, OSError, argparse.ArgumentError)
"""What wrong arguments and inputs raise; anything else is a defect of ours and shows where it comes from."""

# What jsonargparse says around the reason: the types that it tried, and the value that it was given.
_NOISE = ("Does not validate", "Subtypes:", "Errors:", "- Expected a <class 'NoneType'>", "Given value", "- 'NoneType'")


class Parser(argparse.ArgumentParser):
    """A parser of arguments that raises instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def one_line(error: BaseException) -> str:
    r"""Return what the error says without line breaks and without the way that it took.

    >>> one_line(ValueError("Caught ValueError in DataLoader worker process 0.\nOriginal Traceback\nValueError: why"))
    'why'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Caught ") and "worker process" in lines[0]:
        lines = [lines[-1].partition(": ")[2]]
    return " ".join(line for line in lines if not line.startswith(_NOISE)) or type(error).__name__
