"""Extensions of mkdocs: equations as MathML, the help of the command line, and examples of docstrings as code."""

from __future__ import annotations

import contextlib
import html
import io
import os
import re
from typing import Any

import griffe
from latex2mathml.converter import convert

MATH = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
EXAMPLE = re.compile(r"^>>> .*(?:\n(?=.*\S).*)*", re.MULTILINE)
TEXT = re.compile(r"\\texttt\{[^}]*\}")
HELP = re.compile(r"^<!-- help: (.*) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace `<!-- help: COMMAND -->` by what `involution COMMAND --help` prints."""
    return HELP.sub(lambda match: f"```text\n{command_help(match[1])}\n```", markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Convert equations to MathML, which browsers draw without a script."""
    return MATH.sub(_mathml, content)


def _mathml(match: re.Match[str]) -> str:
    latex = TEXT.sub(lambda text: text[0].replace(r"\_", "_"), html.unescape(match[3]))
    return convert(latex, display="inline" if match[2] == "(" else "block")


def command_help(arguments: str) -> str:
    """Return what the command line prints for arguments that end in a help option."""
    os.environ["COLUMNS"] = "100"
    from involution.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        main(arguments.split())
    return printed.getvalue().strip()


class Examples(griffe.Extension):
    """Mark the examples of docstrings as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```python\n\g<0>\n```", obj.docstring.value)
