"""A prepared network says the same with fewer layers."""

import pytest
import timm
import torch
from torch import nn

import involution.models
from involution.models import prepare


def trained(name, **options):
    """Return a network whose norms have seen data."""
    model = timm.create_model(name, num_classes=5, **options).train()
    for _ in range(3):
        model(torch.rand(4, 3, 64, 64))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["rednet26", "resnet26_standalone", "rednet26_depthwise", "resnet18"])
def test_says_the_same_without_most_norms(name):
    model, x = trained(name), torch.rand(2, 3, 65, 96)
    prepared = prepare(model)
    torch.testing.assert_close(prepared(x), model(x), rtol=1e-3, atol=1e-4)

    def norms(network):
        return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())

    assert norms(prepared) < norms(model) / 2
    assert prepared(x.contiguous(memory_format=torch.channels_last)).shape == (2, 5)


def test_a_network_that_changes_is_refused():
    with pytest.raises(ValueError, match=r"model: expected a prepared network within 0 of the original, got"):
        prepare(trained("rednet26"), tolerance=0)


def test_it_is_public():
    assert involution.models.prepare is prepare
