from functools import partial

import pytest
import torch
from PIL import Image

from involution import visualize


@pytest.fixture
def images(tmp_path):
    Image.effect_noise((40, 30), 90).save(tmp_path / "one.png")
    Image.effect_noise((30, 45), 90).convert("CMYK").save(tmp_path / "two.jpg")
    return tmp_path / "one.png", tmp_path / "two.jpg"


def record(calls, name, draw, *arguments):
    calls.append((name, arguments))
    return draw(*arguments)


@pytest.fixture
def drawn(monkeypatch):
    """Record the images that the command would draw."""
    calls = []
    for name in ("draw_heat_maps", "draw_kernels"):
        draw = getattr(visualize, name)
        monkeypatch.setattr(visualize, name, partial(record, calls, name, draw))
    return calls


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_sheet_of_heat_maps(run, images, drawn, ending):
    outcome = run(
        "explain", *images, "--model", "rednet26", "--input-size", 32, "--groups", 2, "--out", f"heat.{ending}"
    )
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err == "rednet26 without --checkpoint: its weights are random\n"
    [(name, (shown, maps, groups))] = drawn
    assert (name, groups) == ("draw_heat_maps", 2)
    assert [tuple(image.shape) for image in shown] == [(3, 32, 43), (3, 48, 32)]
    assert {layer: [tuple(m.shape) for m in each] for layer, each in maps.items()} == {
        "stem.1": [(2, 16, 22), (2, 24, 16)]
    }
    with open(f"heat.{ending}", "rb") as file:
        assert file.read(4) in (b"\x89PNG", b"<?xm", b"%PDF")


@pytest.mark.slow
def test_a_checkpoint_and_layers(run, images, drawn, weights):
    layers = ("stem.1", "layer4.0.conv2")
    arguments = [part for layer in layers for part in ("--layer", layer)]
    outcome = run("explain", images[0], "--checkpoint", weights, *arguments, "--out", "heat.png")
    assert (outcome.status, outcome.err) == (0, "")
    [(_, (shown, maps, _))] = drawn
    assert shown[0].shape == (3, 32, 43)  # the size is that of the checkpoint
    assert {layer: tuple(each[0].shape) for layer, each in maps.items()} == {
        "stem.1": (2, 32, 43),
        "layer4.0.conv2": (32, 4, 6),
    }


def test_kernels_at_pixels_of_the_image_as_it_is_in_the_file(run, images, drawn, weights):
    pixels = ("--pixel", 0, 0, "--pixel", 39, 29)
    arguments = ("--checkpoint", weights, "--layer", "stem.1", *pixels, "--out", "kernels.png")
    assert run("explain", images[0], *arguments).status == 0
    [(name, (shown, generated, pixels, groups, title))] = drawn
    assert (name, groups, title) == ("draw_kernels", 4, "stem.1")
    assert pixels[0] == pytest.approx((0.5 * 43 / 40 - 0.5, 0.5 * 32 / 30 - 0.5))
    assert torch.isfinite(generated.kernel).all()
    assert generated.pixel((pixels[1][0] + 0.5) / 43, (pixels[1][1] + 0.5) / 32) == (31, 42)
    assert shown.shape == (3, 32, 43)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "rednet51"), "model: expected a network of rednet26, .*, got 'rednet51'"),
        (("--checkpoint", "gone.ckpt"), "checkpoint: expected a file, got gone.ckpt, which does not exist"),
        (("--model", "rednet26", "--layer", "layer9"), "--layer: expected one of stem.1, .*, got 'layer9'"),
        (("--model", "rednet26", "--layer", "stem1"), "got .stem1.; did you mean stem.1.?"),
        (("--model", "rednet26", "--pixel", "40", "0"), "--pixel: expected X in 0 to 39 and Y in 0 to 29, got 40 0"),
        (("--model", "rednet26", "--pixel", "4"), "argument --pixel: expected 2 arguments"),
        (("--model", "rednet26", "--groups", "0"), "--groups: expected a positive number, got 0"),
        (("--model", "rednet26", "--input-size", "-3"), "--input-size: expected 1 to 4096, got -3"),
        (
            ("--model", "rednet26", "--out", "heat.gif"),
            "--out: expected a file ending in .*, got heat.gif",
        ),
        (
            ("--model", "rednet26", "--out", "gone/heat.png"),
            "--out: expected a file in an existing folder, got gone/",
        ),
    ],
    ids=str,
)
def test_mistakes(run, images, arguments, message):
    from test_mistakes import complains

    assert complains(run("explain", images[0], "--input-size", 32, "--out", "heat.png", *arguments), message)


def test_images_that_are_none(run, images, truncated, tmp_path):
    from test_mistakes import complains

    (tmp_path / "text.png").write_text("no image")
    for name, message in {
        truncated: "image: expected a file that can be decoded, got .*truncated.jpg",
        "text.png": r"image: expected a file that can be decoded, got text.png \(not a known format\)",
        "gone.png": "image: expected a file or a folder, got gone.png, which does not exist",
    }.items():
        assert complains(run("explain", images[0], name, "--model", "rednet26", "--out", "heat.png"), message)
        assert not (tmp_path / "heat.png").exists()
    arguments = ("--model", "rednet26", "--input-size", 32, "--pixel", 1, 1, "--out", "heat.png")
    assert complains(run("explain", *images, *arguments), "--pixel: expected one image and one layer, got 2 and 1")
