"""Convolutions of existing networks become involutions."""

import pytest
import torch
from torch import nn

from involution import Involution2d, replace_conv2d


def test_a_resnet_keeps_its_sizes():
    from torchvision.models import resnet18

    net = resnet18(num_classes=5)
    x = torch.randn(1, 3, 65, 70)
    before = [tuple(m.stride) for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    sizes = net.layer4(net.layer3(net.layer2(net.layer1(net.maxpool(net.conv1(x)))))).shape
    assert replace_conv2d(net, kernel_size=5) is net
    layers = [m for m in net.modules() if isinstance(m, Involution2d)]
    assert [tuple(layer.stride) for layer in layers] == before
    assert isinstance(net.conv1, nn.Conv2d)  # three channels: left
    assert net.layer4(net.layer3(net.layer2(net.layer1(net.maxpool(net.conv1(x)))))).shape == sizes
    net(x).sum().backward()


def test_what_cannot_be_replaced_is_left():
    left = [
        nn.Conv2d(32, 32, 1),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Conv2d(20, 32, 3, padding=1),
        nn.Conv2d(32, 32, 3),
        nn.Conv2d(32, 32, 4, padding=1),
        nn.Conv2d(32, 32, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(32, 32, 3),
    ]
    net = replace_conv2d(nn.Sequential(*left))
    assert list(net) == left


def test_a_single_layer_a_choice_and_the_device_and_dtype():
    conv = nn.Conv2d(32, 64, 3, padding=1, stride=2, dtype=torch.float64).eval()
    layer = replace_conv2d(conv, norm_layer=None)
    assert isinstance(layer, Involution2d) and not layer.training
    assert layer(torch.randn(1, 32, 7, 7, dtype=torch.float64)).shape == (1, 64, 4, 4)
    net = nn.ModuleDict({"a": nn.Conv2d(32, 32, 3, padding=1), "b": nn.Conv2d(32, 32, 3, padding=1)})
    replace_conv2d(net, where=lambda name, conv: name == "b")
    assert [type(m) for m in net.values()] == [nn.Conv2d, Involution2d]


def test_errors_leave_the_network():
    net = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 30, 3, padding=1))
    with pytest.raises(ValueError, match="group_channels: expected at least 1, got 0"):
        replace_conv2d(net, group_channels=0)
    with pytest.raises(ValueError, match="kernel_size: expected an int or a pair, each at least 1, got 0"):
        replace_conv2d(net, kernel_size=0)
    assert [type(layer) for layer in net] == [nn.Conv2d, nn.Conv2d]


def test_a_shared_convolution_becomes_a_shared_layer():
    conv = nn.Conv2d(32, 32, 3, padding=1)
    net = replace_conv2d(nn.ModuleDict({"a": conv, "b": nn.Sequential(conv), "c": nn.Conv2d(32, 32, 3, padding=1)}))
    assert isinstance(net["a"], Involution2d) and net["a"] is net["b"][0]
    assert net["c"] is not net["a"]


def test_hooks_and_tied_weights_are_refused_unless_left():
    net = nn.Sequential(*(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3)))
    handle = net[1].register_forward_hook(lambda module, inputs, y: None)
    with pytest.raises(ValueError, match="module: expected convolutions without hooks, got hooks on '1'"):
        replace_conv2d(net)
    handle.remove()
    net[2].weight = net[0].weight
    with pytest.raises(ValueError, match="module: expected convolutions that share no weight, got a shared one in '0'"):
        replace_conv2d(net)
    assert not any(isinstance(layer, Involution2d) for layer in net)
    replace_conv2d(net, where=lambda name, conv: name == "1")
    assert [type(layer) for layer in net] == [nn.Conv2d, Involution2d, nn.Conv2d]
