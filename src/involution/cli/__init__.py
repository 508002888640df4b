"""The command line: `involution COMMAND ...`, one file per command.

Exit status 0 on success; 2 on a wrong argument or input, with one line on standard error that states what was
expected and what was given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from involution.cli.errors import UserError, did_you_mean, is_mistake, missing_package, one_line

COMMANDS = {
    "fit": ("lightning.recipe", "train a network"),
    "recipes": ("lightning.recipes", "list the configurations that ship with the package"),
    "validate": ("lightning.recipe", "evaluate a checkpoint on the validation images"),
    "test": ("lightning.recipe", "evaluate a checkpoint on the test images"),
    "predict": ("lightning.predict", "predict classes, objects or masks for images"),
    "info": ("info", "show versions, devices and the implementation used on each"),
    "profile": ("profile", "count parameters and multiply-adds of a network"),
    "explain": ("explain", "draw the kernels that a network generates for images"),
    "explore": ("explore", "explore these kernels in the browser"),
    "curves": ("curves", "draw the learning curves of runs"),
    "convert": ("convert", "convert weights between releases and file formats"),
    "export": ("export", "export a network to ONNX, AOTInductor or TorchScript"),
}

_HELP = "\n".join(
    [
        "usage: involution COMMAND ...",
        "",
        *(f"  {name:10}{text}" for name, (_, text) in COMMANDS.items()),
        "",
        "`involution COMMAND --help` describes a command. With --traceback, a mistake shows where it was found.",
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 2 after a user error, 130 after Ctrl+C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in arguments
    try:
        status = _run([argument for argument in arguments if argument != "--traceback"])
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has ended; Python flushes what is left at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except SystemExit as exit:
        if isinstance(exit.__context__, KeyboardInterrupt):  # how Lightning's trainer ends
            return 130
        raise
    except Exception as error:
        if traceback or not is_mistake(error):
            raise
        print(f"involution: error: {one_line(error)}", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> int:
    match arguments:
        case []:
            raise UserError(f"command: expected one of {', '.join(COMMANDS)}, got none")
        case ["-h" | "--help" | "help", *_]:
            print(_HELP)
        case ["--version", *_]:
            print(version("involution"))
        case [name, *_] if name not in COMMANDS:
            hint = did_you_mean(name, COMMANDS)
            raise UserError(f"command: expected one of {', '.join(COMMANDS)}, got {name!r}{hint}")
        case [name, *rest]:
            try:
                import_module(f"involution.cli.{COMMANDS[name][0]}").run(name, rest)
            except ModuleNotFoundError as error:
                raise missing_package(name, error) or error from None
    return 0
