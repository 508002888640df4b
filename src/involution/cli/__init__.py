"""The command line: `involution COMMAND ...`, one file per command.

Exit status 0 on success; 2 on a wrong argument or input, with one line on standard error that says what was expected
and what came.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from involution.cli.errors import MISTAKES, one_line

COMMANDS = {
    "fit": ("recipe", "train a network as a configuration says"),
    "validate": ("recipe", "measure a checkpoint on the images that chose it"),
    "test": ("recipe", "measure a checkpoint on the test images"),
    "predict": ("predict", "name what is in images, with a checkpoint"),
    "info": ("info", "versions, devices, and which implementation serves each"),
    "profile": ("profile", "parameters and multiply-adds of a network"),
    "explain": ("explain", "draw the kernels that a network generates for images"),
    "explore": ("explore", "the same in the browser, for any image, layer and pixel"),
    "curves": ("curves", "draw the learning curves of runs"),
}

_HELP = "\n".join(
    [
        "usage: involution COMMAND ...",
        "",
        *(f"  {name:10}{text}" for name, (_, text) in COMMANDS.items()),
        "",
        "`involution COMMAND --help` explains a command.",
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except MISTAKES as error:
        print(f"involution: error: {one_line(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0


def _run(arguments: list[str]) -> int:
    match arguments:
        case []:
            raise ValueError(f"command: expected one of {', '.join(COMMANDS)}, got none")
        case ["-h" | "--help", *_]:
            print(_HELP)
        case ["--version", *_]:
            print(version("involution"))
        case [name, *_] if name not in COMMANDS:
            raise ValueError(f"command: expected one of {', '.join(COMMANDS)}, got {name!r}")
        case [name, *rest]:
            import_module(f"involution.cli.{COMMANDS[name][0]}").run(name, rest)
    return 0
