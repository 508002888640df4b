import pytest
import timm
import torch
from torch import nn

import involution.models  # noqa: F401
from involution import Involution2d
from involution.visualize import draw_heat_maps, heat_maps


@pytest.fixture
def net():
    return timm.create_model("rednet26", stem_stride=1, in_chans=1, num_classes=2).train()


def test_maps_are_sums_over_the_kernels(net):
    images = torch.rand(2, 1, 16, 12)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    maps = heat_maps(net, images)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, Involution2d)}
    assert list(maps) == list(layers)
    assert maps["stem.1"].shape == (2, 2, 16, 12)
    assert maps["layer4.0.conv2"].shape == (2, 32, 2, 2)
    net.eval()
    expected = torch.zeros(2, 2, 16, 12)
    for taps in layers["stem.1"].kernel(net.stem[0](images)).unbind(2):
        for tap in taps.unbind(2):
            expected += tap
    torch.testing.assert_close(maps["stem.1"], expected)
    assert not maps["stem.1"].requires_grad
    assert all(not layer._forward_pre_hooks for layer in layers.values())


def test_hooks_are_removed_if_the_model_fails():
    model = nn.Sequential(Involution2d(16), nn.Linear(3, 3)).train()
    with pytest.raises(RuntimeError):
        heat_maps(model, torch.rand(1, 16, 4, 4))
    assert model.training
    assert not model[0]._forward_pre_hooks


@pytest.mark.parametrize("channels", [1, 3])
def test_the_drawing_has_a_row_per_image_and_a_scale_centred_at_zero(channels, tmp_path):
    maps = {"first": torch.randn(2, 2, 4, 4), "second": torch.randn(2, 8, 2, 2)}
    figure = draw_heat_maps(torch.rand(2, channels, 8, 8), maps, groups=3)
    assert len(figure.axes) == 2 * (1 + 2 + 3)
    drawn = figure.axes[1].images[0]
    limit = maps["first"][:, 0].abs().max().item()
    assert drawn.get_clim() == pytest.approx((-limit, limit))
    assert drawn.get_array().data == pytest.approx(maps["first"][0, 0].numpy())
    red, _, blue, _ = drawn.cmap(1.0)
    assert red > blue
    figure.savefig(tmp_path / "maps.png")
    assert (tmp_path / "maps.png").stat().st_size > 1000
