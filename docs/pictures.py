"""Run the code of the tutorial and so make its pictures.

    python docs/pictures.py

Run it from the root of the project, after the training that the tutorial describes.
"""

import re
from pathlib import Path

PAGE = Path(__file__).with_name("tutorial.md")


def run(page: Path = PAGE) -> None:
    """Run the blocks of Python on a page, in their order and as one program.

    Raises:
        ValueError: a line prints something else than the page says behind it.
    """
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        printed: list[str] = []
        names["print"] = lambda *values, printed=printed: printed.append(" ".join(map(str, values)))
        exec(block, names)
        if printed != (expected := re.findall(r"^print\(.*\)  # (.*)", block, re.MULTILINE)):
            raise ValueError(f"{page.name}: expected {expected}, got {printed}")


if __name__ == "__main__":
    run()
