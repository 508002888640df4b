"""The pages of the site: examples and commands run, links lead somewhere, and the navigation is complete."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from involution.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
GUIDES = [
    ROOT / "README.md",
    DOCS / "index.md",
    DOCS / "operator.md",
    DOCS / "networks.md",
    *(DOCS / "guide").glob("*.md"),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(page):
    return page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name


def commands(page):
    blocks = [text for language, text in BLOCK.findall(page.read_text()) if not language]
    return [line for text in blocks for line in text.splitlines() if line.startswith("involution")]


SLOW = {"guide/detection.md", "guide/swap.md"}


def guide(page):
    return pytest.param(page, id=name(page), marks=[pytest.mark.slow] * (name(page) in SLOW))


@pytest.mark.parametrize("page", [guide(page) for page in GUIDES])
def test_examples_give_what_they_show(page, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    if "rednet26.safetensors" in page.read_text():
        (tmp_path / "rednet26.safetensors").symlink_to(request.getfixturevalue("converted"))
    examples = "\n".join(text for language, text in BLOCK.findall(page.read_text()) if language == "python")
    test = doctest.DocTestParser().get_doctest(examples, {}, name(page), str(page), 0)
    torch.manual_seed(0)
    assert doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(test).failed == 0


@pytest.fixture(scope="session")
def official(tmp_path_factory):
    """Weights of a RedNet-26 under the names of the official release."""
    import timm

    import involution.models  # noqa: F401
    from involution.weights import to_official

    path = tmp_path_factory.mktemp("weights") / "official.pth"
    torch.save({"state_dict": to_official(timm.create_model("rednet26").state_dict()).weights}, path)
    return path


@pytest.fixture(scope="session")
def converted(official):
    path = official.with_name("rednet26.safetensors")
    assert main(["convert", str(official), str(path)]) == 0
    return path


def draw_imagenet(root):
    """Draw the 1000 folders of ImageNet, with one link to an image in each."""
    from timm.data import ImageNetInfo

    Image.effect_noise((64, 64), 50).save(root.with_suffix(".png"))
    for split in ("train", "val"):
        for label in ImageNetInfo("imagenet-1k").label_names():
            (root / split / label).mkdir(parents=True)
            (root / split / label / "0.png").symlink_to(root.with_suffix(".png"))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in GUIDES if commands(page)], ids=name)
def test_commands_run(page, tmp_path, image_folder, draw_scenes, draw_masks, official, monkeypatch, capsys, one_thread):
    """Run the commands of a page in their order, training with one batch per epoch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    Image.effect_noise((64, 64), 50).save(tmp_path / "digit.png")
    words = {"IMAGE": "digit.png", "FOLDER": str(image_folder), "OFFICIAL": str(official)}
    text = page.read_text()
    if "SCENES" in text:
        words["SCENES"] = str(draw_scenes(tmp_path / "scenes"))
    if "PEDESTRIANS" in text:
        words["PEDESTRIANS"] = str(draw_masks(tmp_path / "masks", images=53))  # 50 are held out
    if "IMAGENET" in text:
        words["IMAGENET"] = str(draw_imagenet(tmp_path / "imagenet"))
    if "runs/digits" in text and "fit digits" not in text:
        trained = tmp_path / "runs/digits/version_0/checkpoints/best.ckpt"
        trained.parent.mkdir(parents=True)
        trained.symlink_to(official)
    one = ("max_epochs", "limit_train_batches", "limit_val_batches", "check_val_every_n_epoch")
    for line in commands(page):
        arguments = [words.get(word, word) for word in shlex.split(line)[1:]]
        assert arguments[0] in COMMANDS
        if arguments[0] == "fit":
            size = 256 if "digits" in line else 2  # few batches of many digits
            arguments += [*(f"--trainer.{limit}=1" for limit in one), f"--batch-size={size}"]
        elif arguments[0] == "validate":
            arguments += ["--trainer.limit_val_batches=1", "--batch-size=2", "--data.num_workers=0"]
        assert main(arguments) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name)
def test_no_comment_begins_a_line_of_text(page):
    """In Markdown a comment at the beginning of a line ends the paragraph, and the rest of its line is no Markdown."""
    assert not re.findall(r"^\s*(?:[-*] )?<!--.*?-->.*\S.*", re.sub(BLOCK, "", page.read_text()), re.MULTILINE)


def headings(page):
    """Return the anchors of a page, as Python-Markdown and GitHub make them for plain titles."""
    titles = re.findall(r"^#+ (.*)$", re.sub(BLOCK, "", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=name)
def test_links_lead_to_a_file_and_a_heading(page):
    for link in LINK.findall(re.sub(BLOCK, "", page.read_text())):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in headings(target), f"{page}: {link}"
        assert page.parent == ROOT or target.is_relative_to(DOCS), f"{page}: {link} is not part of the site"


def test_the_navigation_has_every_page():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]

    def files(entries):
        for entry in entries:
            for value in entry.values():
                yield from files(value) if isinstance(value, list) else [value]

    assert sorted(files(nav)) == [name(page) for page in PAGES]


def test_the_help_that_pages_show_is_that_of_commands():
    asked = re.findall(r"^<!-- help: (\S+)", (DOCS / "reference/command-line.md").read_text(), re.MULTILINE)
    assert {*asked, "validate", "test"} == {"--help", *COMMANDS}
