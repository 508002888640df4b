import pytest
import timm
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

import involution.models
from involution import Involution2d
from involution.visualize import capture, heat_maps, kernels


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
    assert not maps["stem.1"].requires_grad
    assert all(not layer._forward_pre_hooks for layer in layers.values())


def test_maps_equal_a_sum_by_hand(net):
    """In double precision, pixel by pixel, from the layer's own two convolutions."""
    net.double().eval()
    x = net.stem[0](torch.rand(1, 1, 5, 4, dtype=torch.float64))
    layer = net.stem[1]
    expected = torch.zeros(1, 2, 5, 4, dtype=torch.float64)
    for i in range(5):
        for j in range(4):
            reduced = layer.conv1(x[:, :, i : i + 1, j : j + 1])[0, :, 0, 0]
            taps = layer.conv2.conv.weight[:, :, 0, 0] @ reduced + layer.conv2.conv.bias
            for n, tap in enumerate(taps.tolist()):
                expected[0, n // 9, i, j] += tap
    torch.testing.assert_close(heat_maps(layer, x)[""], expected, atol=1e-6, rtol=0)


def test_output_and_kernels_are_those_of_the_model(net):
    images = torch.rand(2, 1, 16, 12)
    generated, output = capture(net, images)
    net.eval()
    torch.testing.assert_close(output, net(images))
    torch.testing.assert_close(kernels(net, images)["stem.1"], net.stem[1].kernel(net.stem[0](images)))
    assert generated["stem.1"].kernel.shape == (2, 2, 3, 3, 16, 12)


def test_hooks_are_removed_if_the_model_fails():
    model = nn.Sequential(Involution2d(16), nn.Linear(3, 3)).train()
    with pytest.raises(RuntimeError):
        heat_maps(model, torch.rand(1, 16, 4, 4))
    assert model.training
    assert not model[0]._forward_pre_hooks


def test_a_model_without_involutions():
    with pytest.raises(ValueError, match="model: expected a network with involutions, got a Conv2d without any"):
        heat_maps(nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4))


def test_a_layer_that_is_applied_twice_appears_twice():
    layer = Involution2d(16)
    maps = heat_maps(nn.Sequential(layer, nn.AvgPool2d(2), layer), torch.rand(1, 16, 4, 4))
    assert {name: tuple(map.shape) for name, map in maps.items()} == {"0[0]": (1, 1, 4, 4), "0[1]": (1, 1, 2, 2)}


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (7, 2, 1), (3, 1, 2), ((5, 3), (1, 2), 1)])
def test_windows_are_the_pixels_that_the_output_depends_on(kernel_size, stride, dilation):
    """With all other kernel weights set to one, the gradient of an output shows which pixels it weights."""
    x = torch.rand(1, 16, 11, 12)
    layer = Involution2d(16, kernel_size, stride, dilation)
    generated = capture(layer, x)[0][""]
    ones = torch.ones_like(generated.kernel)
    for place in [(0.0, 0.0), (0.5, 0.5), (0.99, 0.7)]:
        i, j = generated.pixel(*place)
        x.requires_grad_().grad = None
        involution.involution2d(x, ones, stride, layer.padding, dilation)[0, 0, i, j].backward()
        found = {tuple(p) for p in x.grad[0, 0].nonzero().tolist()}
        boxes = generated.window(i, j).flatten(0, 1) * torch.tensor([12, 11, 12, 11])
        corners = {(round(top), round(left)) for left, top, _, _ in boxes.tolist()}
        assert found == {(top, left) for top, left in corners if 0 <= top < 11 and 0 <= left < 12}
        assert torch.allclose(boxes[:, 2:] - boxes[:, :2], torch.ones(1))


def test_the_pixel_of_a_place_is_the_one_that_covers_it():
    generated = capture(Involution2d(16, stride=2), torch.rand(1, 16, 10, 20))[0][""]
    assert generated.pixel(0, 0) == (0, 0)
    assert generated.pixel(0.999, 0.999) == (4, 9)
    assert generated.pixel(1.0, 1.0) == (4, 9)
    assert generated.pixel(0.5, 0.2) == (1, 5)


class Body(nn.Module):
    out_channels = 16

    def __init__(self):
        super().__init__()
        self.reduce, self.mix = nn.Conv2d(3, 16, 4, stride=4), Involution2d(16)

    def forward(self, x):
        return {"0": self.mix(self.reduce(x))}


def test_a_detector_is_shown_without_its_padding_and_its_regions():
    class Head(nn.Sequential):
        def __init__(self):
            super().__init__(Involution2d(16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1024))

    pool = MultiScaleRoIAlign(["0"], 7, 2)
    anchors = AnchorGenerator(((16,),), ((1.0,),))
    detector = FasterRCNN(
        Body(), 2, min_size=40, max_size=70, rpn_anchor_generator=anchors, box_roi_pool=pool, box_head=Head()
    )
    generated, output = capture(detector, torch.rand(2, 3, 40, 70))
    assert list(generated) == ["backbone.mix"]
    assert len(output) == 2
    # Padded to 64 x 96, of which a quarter in each direction is 16 x 24; the images cover 10 x 17.5 of it.
    assert generated["backbone.mix"].kernel.shape == (2, 1, 7, 7, 10, 18)
    assert generated["backbone.mix"].extent == pytest.approx((10, 17.5))
    assert generated["backbone.mix"].pixel(0.999, 0.999) == (9, 17)
