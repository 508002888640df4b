"""The code of the tutorial runs, prints the output on the page, and draws its pictures."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

DOCS = Path(__file__).parents[2] / "docs"
WITHOUT_A_NETWORK = {"tutorial-portrait.png", "tutorial-kernels.png"}  # the same on every machine, apart from fonts


@pytest.fixture
def pictures():
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_picture_is_made(pictures, weights, tmp_path, monkeypatch, one_thread):
    """An untrained network stands in for the trained one, so pictures of the network are compared by size only."""
    run = tmp_path / "runs/tiny_imagenet/version_0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/best.ckpt").symlink_to(weights)
    (run / "metrics.csv").write_text("epoch,step,val/loss,val/top1,val/top5\n0,9,2.0,0.2,0.5\n")
    (tmp_path / "docs/images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    pictures.run()
    shown = re.findall(r"!\[.*\]\(images/(.*)\)", pictures.PAGE.read_text())
    assert {path.name for path in (tmp_path / "docs/images").iterdir()} == set(shown) >= WITHOUT_A_NETWORK
    for name in shown:
        with Image.open(DOCS / "images" / name) as kept, Image.open(tmp_path / "docs/images" / name) as made:
            assert kept.size == pytest.approx(made.size, rel=0.1), name
            if name in WITHOUT_A_NETWORK:
                assert difference(kept, made) < 0.5, name


def difference(first, second):
    """Return the mean absolute difference of two pictures, in grey levels from 0 to 255."""
    second = second.convert("RGB").resize(first.size)
    return sum(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second)).mean) / 3


def test_a_page_that_says_what_is_not_so(pictures, tmp_path):
    (tmp_path / "page.md").write_text("```python\nprint(1 + 1)  # 3\n```\n")
    with pytest.raises(ValueError, match=r"page.md: expected \['3'\], got \['2'\]"):
        pictures.run(tmp_path / "page.md")
