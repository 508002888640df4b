"""The tutorial's code runs, prints what the page says, and makes its pictures."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def pictures():
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_made(pictures, weights, tmp_path, monkeypatch, one_thread):
    """With a network that has learned nothing."""
    run = tmp_path / "runs/tiny_imagenet/version_0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/best.ckpt").symlink_to(weights)
    (run / "metrics.csv").write_text("epoch,step,val/loss,val/top1,val/top5\n0,9,2.0,0.2,0.5\n")
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    pictures.run()
    shown = re.findall(r"!\[.*\]\((.*)\)", pictures.PAGE.read_text())
    assert {path.name for path in (tmp_path / "docs").iterdir()} == set(shown)
    for name in shown:
        with Image.open(DOCS / name) as kept, Image.open(tmp_path / "docs" / name) as made:
            assert kept.width == pytest.approx(made.width, rel=0.1), name


def test_a_page_that_says_what_is_not_so(pictures, tmp_path):
    (tmp_path / "page.md").write_text("```python\nprint(1 + 1)  # 3\n```\n")
    with pytest.raises(ValueError, match=r"page.md: expected \['3'\], got \['2'\]"):
        pictures.run(tmp_path / "page.md")
