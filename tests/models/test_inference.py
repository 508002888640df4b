"""A prepared network gives the same outputs with fewer layers."""

import copy
from functools import cache, partial
from threading import Thread

import pytest
import timm
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

import involution.models
from involution.models import detection, prepare
from involution.models.fused import FusedBottleneck, FusedStem
from involution.models.skeleton.trunk import Bottleneck


def trained(name, **options):
    """Return a network with norm statistics from data, and blocks that are not initialized to the identity."""
    return copy.deepcopy(_trained(name, **options))


@cache
def _trained(name, **options):
    model = timm.create_model(name, num_classes=5, **options).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(4, 3, 64, 64))
    return model.eval()


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ["rednet26", "resnet26_standalone", "rednet26_depthwise", "lsnet_t", "resnet18"])
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


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (33, 95), (224, 161)])
def test_every_block_of_a_rednet_is_one_operator(size):
    model = trained("rednet26").double()
    x = torch.rand(3, 3, *size, dtype=torch.float64)
    expected = model(x)
    prepared = prepare(model.float())
    assert sum(isinstance(module, FusedBottleneck) for module in prepared.modules()) == 8
    assert sum(isinstance(module, FusedStem) for module in prepared.modules()) == 1
    assert not any(isinstance(module, Bottleneck | nn.Conv2d | nn.MaxPool2d) for module in prepared.modules())
    assert not prepared.graph.find_nodes(op="call_method", target="contiguous")  # the stem reads any layout
    assert ((prepared(x.float()) - expected).abs().max() / expected.abs().max()).item() < 1e-5


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "shape", "threads"), [(38, (17, 33), 1), (50, (2, 127), 3), (101, (3, 65), 7), (152, (1, 97), 2)]
)
def test_every_depth(depth, shape, threads):
    model = trained(f"rednet{depth}")
    x = torch.rand(shape[0], 3, shape[1], shape[1] + 14)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    got, expected = prepare(model)(x), model(x)
    torch.set_num_threads(before)
    assert ((got - expected).abs().max() / expected.abs().max()).item() < 1e-5


@torch.no_grad()
def test_a_prepared_backbone_gives_the_same_maps():
    model = trained("rednet26", features_only=True, stem_kernel_size=7, output_stride=16)
    x = torch.rand(2, 3, 65, 96)
    for got, expected in zip(prepare(model)(x), model(x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_a_prepared_network_can_be_exported():
    model = prepare(trained("rednet26"))
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 5)  # contiguous images, converted on input
    x = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    dimensions = {0: torch.export.Dim("batch"), 2: None, 3: None}
    exported = torch.export.export(model, (x,), dynamic_shapes=({**dimensions},))
    assert sum("involution.bottleneck" in str(node.target) for node in exported.graph.nodes) == 8
    more = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(exported.module()(more), model(more))


def inplace(prepared):
    return [name for name, module in prepared.named_modules() if getattr(module, "inplace", False)]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_reuse_memory_that_nothing_else_reads(dtype):
    model = trained("rednet26").to(dtype)
    prepared = prepare(model)
    assert inplace(prepared) == ["layer2.1", "layer3.1", "layer3.2", "layer3.3"]
    images = [torch.rand(2, 3, 64, 64, dtype=dtype).contiguous(memory_format=torch.channels_last) for _ in range(4)]
    kept = [image.clone() for image in images]
    got = [prepared(image) for image in images]  # later calls leave earlier answers as they are
    again = [None] * len(images)

    def work(index):
        with torch.no_grad():
            for _ in range(4):
                again[index] = prepared(images[index])

    workers = [Thread(target=work, args=(index,)) for index in range(len(images))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tolerance = 1e-4 if dtype == torch.float32 else 5e-2
    for index, image in enumerate(images):
        assert torch.equal(image, kept[index])
        torch.testing.assert_close(got[index], model(image), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(again[index], got[index], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_maps_that_are_returned_keep_their_memory():
    model = trained("rednet26")
    x = torch.rand(1, 3, 64, 64)

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            x = self.model.layer1(self.model.maxpool(self.model.stem(x)))
            first = self.model.layer2[0](x)
            return first, self.model.layer2[1](first)

    network = Inner().eval()
    prepared = prepare(network, x)
    assert inplace(prepared) == []
    for got, expected in zip(prepared(x), network(x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_a_prepared_network_can_be_compiled():
    model = prepare(trained("rednet26"))
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x))


def test_the_model_stays_in_its_mode():
    model = trained("rednet26").train()
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    assert not any(module.training for module in prepare(model).modules())
    assert [module.training for module in model.modules()] == modes


@torch.no_grad()
def test_a_changed_span_is_not_fused():
    model, x = trained("rednet26"), torch.rand(2, 3, 64, 64)
    nn.init.ones_(model.layer1[0].bn3.weight)  # zero at initialization, where the block would contribute nothing
    before = model(x)
    model.layer1[0].conv2.conv2.conv.register_forward_hook(lambda module, inputs, taps: 3 * taps)
    prepared = prepare(model)
    assert sum(isinstance(module, FusedBottleneck) for module in prepared.modules()) == 7
    torch.testing.assert_close(prepared(x), model(x), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(model(x), before, rtol=1e-3)


PRUNE = partial(prune.l1_unstructured, name="weight", amount=0.5)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        *((PRUNE, part) for part in ("conv1", "bn1", "conv2.conv2.conv")),
        (spectral_norm, "conv3"),
        (parametrizations.weight_norm, "conv3"),
    ],
)
def test_pruned_and_normalized_weights_are_left_as_they_are(change, part):
    model, x = trained("rednet26"), torch.rand(2, 3, 64, 64)
    change(model.layer2[1].get_submodule(part))
    change(model.stem[0].get_submodule("conv"))
    model.train()(x)  # estimates the spectral norm
    prepared = prepare(model)
    assert sum(isinstance(module, FusedBottleneck) for module in prepared.modules()) == 7
    with torch.no_grad():
        torch.testing.assert_close(prepared(x), model.eval()(x), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_prepared_network_changes_its_dtype():
    model, x = trained("rednet26"), torch.rand(2, 3, 64, 64)
    half = prepare(model).bfloat16()
    expected = prepare(copy.deepcopy(model).bfloat16())(x.bfloat16())
    torch.testing.assert_close(half(x.bfloat16()), expected, rtol=0.1, atol=0.05)
    back = half.float()(x)
    assert (back - model(x)).abs().max() < 0.05 * model(x).abs().max() + 0.05


@torch.no_grad()
@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet"])
def test_a_prepared_backbone_of_a_detector(name):
    detector = getattr(detection, name)("rednet26", neck="convolution", num_classes=2).eval()
    x = torch.rand(1, 3, 96, 64)
    prepared = prepare(detector.backbone)
    assert sum(isinstance(module, FusedBottleneck) for module in prepared.modules()) == 8
    for got, expected in zip(prepared(x).values(), detector.backbone(x).values(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
