import pytest
import torch

from involution.visualize import colors, draw_heat_maps


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_per_image_and_a_column_per_group(channels, tmp_path):
    maps = {"first": torch.randn(2, 2, 4, 4), "second": torch.randn(2, 8, 2, 2)}
    figure = draw_heat_maps(torch.rand(2, channels, 8, 8), maps, groups=3)
    panels = [axis for axis in figure.axes if axis.images]
    assert len(panels) == 2 * (1 + 2 + 3)
    titles = ["image\n", "first\ngroup 0", "first\ngroup 1", *(f"second\ngroup {g}" for g in range(3))]
    assert [axis.get_title() for axis in panels[:6]] == titles
    for ending in ("png", "svg", "pdf"):
        figure.savefig(tmp_path / f"maps.{ending}")
        assert (tmp_path / f"maps.{ending}").stat().st_size > 1000


def test_images_of_several_sizes_share_a_sheet():
    images = [torch.rand(3, 8, 16), torch.rand(3, 20, 10)]
    figure = draw_heat_maps(images, {"layer": [torch.randn(1, 2, 4), torch.randn(1, 5, 3)]})
    sizes = [axis.images[0].get_array().shape[:2] for axis in figure.axes if axis.images]
    assert sizes == [(8, 16), (8, 16), (20, 10), (20, 10)]


def test_the_scale_is_centred_at_zero_and_one_for_all_images():
    figure = draw_heat_maps(torch.ones(2, 3, 4, 4), {"layer": torch.tensor([1.0, -4.0]).reshape(2, 1, 1, 1)})
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == ["−4", "0", "4"]
    weak, strong = (figure.axes[n].images[0].get_array()[0, 0].tolist() for n in (1, 3))
    assert weak[0] > weak[2]  # reddish
    assert strong[2] > strong[0]  # blue
    assert sum(weak) > sum(strong)


def test_colors_of_a_value_and_its_opposite_differ_in_lightness_alike():
    rgb = colors.colors(torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]), 1.0).astype(int)
    light = rgb @ [299, 587, 114] // 1000
    assert light[2] > 240
    assert abs(light[0] - light[4]) < 40 and abs(light[1] - light[3]) < 40
    assert rgb[0, 2] > rgb[0, 0] and rgb[4, 0] > rgb[4, 2]


def test_a_map_of_zeros_can_be_drawn():
    assert colors.limit(torch.zeros(3)) == 1
    assert (colors.over(torch.ones(3, 4, 4), torch.zeros(2, 2), 1.0) > 240).all()


@pytest.mark.parametrize(
    ("images", "maps", "message"),
    [
        (torch.rand(0, 3, 4, 4), {}, "images: expected at least one, got none"),
        (torch.rand(2, 3, 4, 4), {"a": torch.rand(1, 2, 2, 2)}, "maps: expected one of a for each of 2 images, got 1"),
    ],
)
def test_errors(images, maps, message):
    with pytest.raises(ValueError, match=message):
        draw_heat_maps(images, maps)
