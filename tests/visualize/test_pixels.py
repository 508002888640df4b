import numpy as np
import pytest
import torch

from involution import Involution2d
from involution.visualize import capture, colors, draw_kernels
from involution.visualize.pixels import mosaic


@pytest.fixture
def layer():
    return capture(Involution2d(48, 3), torch.rand(1, 48, 6, 9))[0][""]


def test_a_row_per_pixel_and_the_mean_in_the_last(layer, tmp_path):
    figure = draw_kernels(torch.rand(3, 12, 18), layer, [(0, 0), (17, 11)], groups=2, title="stem")
    image, sheet, _, _ = figure.axes
    rows = torch.stack(
        [layer.kernel[0, :2, :, :, 0, 0], layer.kernel[0, :2, :, :, 5, 8], layer.kernel[0, :2].mean((3, 4))]
    )
    drawn = sheet.images[0].get_array()
    assert drawn.shape == (3 * 4 - 1, 2 * 4 - 1, 3)
    end = rows.abs().max().item()
    assert np.array_equal(drawn[4:7, 4:7], colors.colors(rows[1, 1], end))
    assert np.array_equal(drawn[8:11, 0:3], colors.colors(rows[2, 0], end))
    assert [label.get_text() for label in sheet.get_yticklabels()][:2] == ["pixel 1", "pixel 2"]
    assert [text.get_text() for text in image.texts] == ["1", "2"]
    assert figure.get_suptitle() == "stem"
    figure.savefig(tmp_path / "kernels.pdf")


def test_numbers_stand_in_the_windows_of_their_pixels(layer):
    image = draw_kernels(torch.rand(1, 12, 18), layer, [(4, 7)]).axes[0]
    assert image.texts[0].get_position() == pytest.approx((4.5, 6.5))  # the middle of the tap of 2 x 2 pixels around it
    assert image.patches[0].get_bbox().bounds == pytest.approx((1.5, 3.5, 6, 6))


def test_kernels_side_by_side():
    tiles = mosaic(torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2), 1.0)
    assert tiles.shape == (2, 5, 3)
    assert (tiles[:, 0, 0] > tiles[:, 0, 2]).all() and (tiles[:, 3, 0] < tiles[:, 3, 2]).all()
    assert (tiles[:, 2] == 255).all()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([], "pixel: expected at least one, got none"),
        ([(18, 0)], "pixel: expected X in 0 to 17 and Y in 0 to 11, got 18 0"),
        ([(0, -1)], "pixel: expected X in 0 to 17 and Y in 0 to 11, got 0 -1"),
    ],
)
def test_errors(layer, pixels, message):
    with pytest.raises(ValueError, match=message):
        draw_kernels(torch.rand(3, 12, 18), layer, pixels)
