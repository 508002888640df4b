from dataclasses import replace

import numpy as np
import pytest
import torch

from involution.explore import explorer as module
from involution.explore import pictures
from involution.explore.explorer import Explorer, Recent, Source, photograph, samples
from involution.explore.network import Look
from involution.explore.views import chosen_at, default_layer, first_view, show
from involution.visualize import Generated, colors
from involution.weights import PRETRAINED


def test_the_network_sees_the_normalized_image(network, pictures):
    look = network.look(pictures["wide"])
    assert look.image.shape == (3, 32, 48)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((look.image - mean.view(3, 1, 1)) / std.view(3, 1, 1))[None]
    probabilities = network.model(x).softmax(1)[0]
    expected = dict(zip(network.classes, probabilities.tolist(), strict=True))
    assert dict(look.classes) == pytest.approx(expected, abs=1e-5)
    stem = network.model.stem
    torch.testing.assert_close(look.layers["stem.1"].kernel, stem[1].kernel(stem[0](x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "seen"), [((10, 400), (3, 128)), ((400, 10), (128, 3)), ((1, 1), (32, 32))])
def test_long_images_do_not_grow_without_bound(network, size, seen):
    assert network.look(torch.zeros(3, *size, dtype=torch.uint8)).image.shape == (3, *seen)


def test_layer_and_group_change_the_map(explorer, view):
    shown = show(explorer, view)
    assert shown.view.layer == "layer2.1.conv2"  # the last one with maps of 12 rows or more for an image of 32
    assert shown.layers[0] == "stem.1"
    other = show(explorer, replace(shown.view, layer="stem.1"))
    assert (other.groups, other.view.layer) == (2, "stem.1")
    assert not np.array_equal(other.heat, shown.heat)
    second = show(explorer, replace(other.view, group=1))
    assert not np.array_equal(second.heat, other.heat)
    assert np.array_equal(second.kernels, other.kernels)  # of all groups
    assert not np.array_equal(second.window, other.window)


def test_what_the_network_has_not_becomes_what_it_has(explorer, view):
    shown = show(explorer, replace(view, layer="stem.1", group=77))
    assert shown.view.group == 1
    assert show(explorer, replace(view, layer="layer9")).view.layer in shown.layers


def test_a_click_shows_the_kernels_of_that_pixel(explorer, view):
    view = replace(view, layer="stem.1", size=32)
    shown = show(explorer, replace(view, place=(0.26, 0.4)))
    look = explorer.look(view.source, view.image, 32)
    i, j = 12, 12  # 0.4 of 32 rows, 0.26 of 48 columns
    assert shown.facts.startswith("row 12 of 32, column 12 of 48; 2 groups, window 3 x 3")
    kernel = look.layers["stem.1"].kernel[0, :, :, :, i, j]
    strongest = kernel.flatten().abs().argmax().item()
    group, tap = divmod(strongest, 9)
    row, column = 26 + 16 + tap // 3 * pictures.TAP, group * 4 * pictures.TAP + tap % 3 * pictures.TAP
    end = [0x67, 0x00, 0x1F] if kernel.flatten()[strongest] > 0 else [0x05, 0x30, 0x61]
    assert shown.kernels[row + 4, column + 4].tolist() == pytest.approx(end, abs=1)
    assert not np.array_equal(show(explorer, replace(view, place=(0.9, 0.9))).kernels, shown.kernels)


def test_both_sheets_of_kernels_share_one_colour_scale():
    kernel = torch.ones(1, 1, 1, 1, 2, 2)
    kernel[..., 0, 0] = 0.25  # the mean over the image is 0.8125
    look = Look(torch.zeros(3, 2, 2), {"a": Generated(kernel, (2, 2), (1, 1), (1, 1), (0, 0))}, [])
    sheets = pictures.kernels_picture(look, "a", (0, 0))
    here, mean = sheets[26 + 16 + 4, 4], sheets[sheets.shape[0] // 2 + 26 + 16 + 4, 4]
    end = torch.tensor(0.8125)
    assert mean.tolist() == colors.colors(end, 0.8125).tolist()
    assert here.tolist() == colors.colors(torch.tensor(0.25), 0.8125).tolist()


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (0.999, 0.001), (-3, 7)])
def test_every_place_can_be_clicked(explorer, view, place):
    shown = show(explorer, replace(view, place=place))
    assert shown.heat.shape == (427, 640, 3)
    assert max(shown.window.shape[:2]) == 320


def test_a_look_is_recalled_and_the_network_not_asked_again(explorer, view, monkeypatch):
    shown = show(explorer, view)
    monkeypatch.setattr(type(explorer.network(view.source)), "look", lambda *_: pytest.fail("asked again"))
    assert show(explorer, replace(shown.view, place=(0.1, 0.1), group=1)).view.group == 1


def test_memory_is_bounded(weights, monkeypatch):
    monkeypatch.setattr(module, "LOOKS", 10**6)
    explorer = Explorer({"two.ckpt": weights}, {})
    source, made = Source(None, weights), []
    for brightness in range(6):
        made.append(explorer.look(source, photograph(torch.full((3, 32, 32), brightness, dtype=torch.uint8)), 32))
    assert sum(look.bytes for look in explorer._looks._values.values()) <= max(10**6, made[0].bytes)
    assert made[0].bytes > 10**5


def test_the_recent_stay_and_the_oldest_go():
    recent = Recent(2, lambda value: 1)
    made = []

    def make(key):
        return lambda: made.append(key) or key

    for key in ("a", "b", "a", "c", "a", "b"):
        assert recent.get(key, make(key)) == key
    assert made == ["a", "b", "c", "b"]


def test_a_click_on_a_kernel_or_a_thumbnail_chooses_its_group(explorer, view):
    shown = show(explorer, view)
    look = explorer.look(shown.view.source, shown.view.image, shown.view.size)
    groups, kh, kw = look.layers[shown.view.layer].kernel.shape[1:4]
    choices = {
        "kernels": (shown.kernels, lambda x, y: pictures.group_at(x, y, groups, kh, kw)),
        "groups": (shown.group_thumbnails, lambda x, y: pictures.thumbnail_at(look, groups, x, y)),
    }
    for picture, (pixels, group) in choices.items():
        height, width = pixels.shape[:2]
        found = {group(x, y) for x in range(4, width, 9) for y in range(4, height, 9)}
        assert found - {None} == set(range(groups)), picture
        assert chosen_at(explorer, shown.view, picture, 9, 50).group == (group(9, 50) or 0)


def test_a_click_on_a_thumbnail_of_a_layer_chooses_it(explorer, view):
    shown = show(explorer, view)
    height, width = shown.layer_thumbnails.shape[:2]
    found = {
        chosen_at(explorer, shown.view, "layers", x, y).layer for x in range(4, width, 20) for y in range(4, height, 20)
    }
    assert found == set(shown.layers)


def test_a_sample_fits_the_network_and_an_own_image_stays(weights):
    explorer = Explorer({"two.ckpt": weights}, samples())
    color, grey = (explorer.images[name] for name in ("koala", "digit 3"))
    source = Source(None, weights)
    assert (color.is_grey, grey.is_grey) == (False, True)
    assert explorer.fitting(source, color) is color
    assert explorer.fitting(source, grey) is color
    own = photograph(torch.zeros(3, 8, 8, dtype=torch.uint8))
    assert explorer.fitting(source, own) is own


def test_samples_are_photographs_and_digits():
    assert {name: tuple(pixels.shape) for name, pixels in samples().items()} == {
        "koala": (3, 512, 384),
        "china": (3, 427, 640),
        "flower": (3, 427, 640),
        "digit 3": (3, 8, 8),
        "digit 8": (3, 8, 8),
    }


def test_the_first_view_is_of_a_photograph_that_the_network_of_the_package_names_rightly():
    explorer = Explorer(PRETRAINED, samples())
    view = first_view(explorer)
    assert view.image is explorer.images["koala"]
    for size in (view.size, explorer.network(view.source).size):
        shown = show(explorer, replace(view, size=size))
        assert shown.classes[0][0] == "koala", shown.classes
        assert len(shown.classes) == 5
    assert explorer.network(view.source).size == 64


def test_a_network_of_the_user_is_shown_first_and_at_its_own_size(weights):
    view = first_view(Explorer({"two.ckpt": weights, **PRETRAINED}, samples()))
    assert (view.source.checkpoint, view.size) == (weights, 0)


def test_the_default_layer_is_the_fine_one_that_varies_most():
    def maps(heat):
        rows, columns = heat.shape
        return Generated(heat.expand(1, 1, 1, 1, rows, columns), (rows, columns), (1, 1), (1, 1), (0, 0))

    step = torch.tensor([-1.0, 1.0]).expand(16, 2)
    layers = {"coarse": maps(step[:8]), "even": maps(torch.ones(16, 2)), "varied": maps(step), "same": maps(step + 9)}
    look = Look(torch.zeros(3, 64, 8), layers, [])
    assert default_layer(look) == "varied"
    assert default_layer(replace(look, layers={"b": maps(step[:2]), "a": maps(step[:3])})) == "a"
