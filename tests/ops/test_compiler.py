"""The operators in PyTorch's tools: the FLOP counter against counts by hand, and Inductor."""

import pytest
import torch
from geometries import Geometry
from torch.utils.flop_counter import FlopCounterMode

from involution import Involution2d

ops = torch.ops.involution

# 3 images, 2 groups of 4 channels, a window of 3 x 2, outputs of 4 x 4 pixels, 5 reduced features.
GEOMETRY = Geometry(batch=3, groups=2, group_channels=4, height=7, width=4, window=(3, 2), stride=(2, 1))
AGGREGATION = 3 * 8 * 16 * 6
SPAN = 3 * 16 * (2 * 6) * 5
MULTIPLY_ADDS = {
    "involution2d": AGGREGATION,
    "involution2d_grad_x": AGGREGATION,
    "involution2d_grad_kernel": AGGREGATION,
    "involution2d_spanned": AGGREGATION + SPAN,
    "involution2d_spanned_backward": 2 * AGGREGATION + 3 * SPAN,
}
MASKS = {
    (True, False, False, False): AGGREGATION + SPAN,
    (False, True, False, False): AGGREGATION + SPAN,
    (False, False, True, True): AGGREGATION + SPAN,
    (True, True, True, True): 2 * AGGREGATION + 3 * SPAN,
}


def arguments(name):
    t, window, geometry = GEOMETRY.tensors(), list(GEOMETRY.window), GEOMETRY.arguments
    span = (t["reduced"], t["weight"], t["bias"], GEOMETRY.groups, window, *geometry)
    return {
        "involution2d": (t["x"], t["kernel"], *geometry),
        "involution2d_grad_x": (t["grad"], t["kernel"], GEOMETRY.size, *geometry),
        "involution2d_grad_kernel": (t["grad"], t["x"], GEOMETRY.groups, window, *geometry),
        "involution2d_spanned": (t["x"], *span),
        "involution2d_spanned_backward": (t["grad"], t["x"], *span),
    }[name]


def count(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_operations_are_those_counted_by_hand(name):
    assert count(lambda: getattr(ops, name)(*arguments(name))) == 2 * MULTIPLY_ADDS[name]


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_gradients_that_are_not_wanted_are_not_counted(mask):
    name = "involution2d_spanned_backward"
    assert count(lambda: ops.involution2d_spanned_backward(*arguments(name), list(mask))) == 2 * MASKS[mask]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_inductor_compiles_a_training_step():
    layer, x = Involution2d(32, 3, 2), torch.randn(2, 32, 9, 8)
    inputs = [x.requires_grad_(), *layer.parameters()]
    compiled = torch.compile(layer, fullgraph=True)
    expected = torch.autograd.grad(layer(x).square().sum(), inputs)
    got = torch.autograd.grad(compiled(x).square().sum(), inputs)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
