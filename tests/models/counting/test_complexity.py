"""Counting: the rule on small modules, and the errors. Whole networks: tests/records/test_published.py."""

import pytest
import torch
from torch import nn

from involution import Involution2d
from involution.models.counting.complexity import _count, profile


def counts(module, *shape):
    return _count(nn.Sequential(module).to("meta").eval(), "module", shape)


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False), (1, 6, 5, 7), 8 * 3 * 4 * 27),
        (nn.Conv2d(6, 8, 1), (1, 6, 5, 7), 8 * 35 * 7),
        (nn.ConvTranspose2d(6, 8, 2, stride=2), (1, 6, 5, 7), 6 * 35 * 8 * 4 + 8 * 140),
        (nn.BatchNorm2d(6), (1, 6, 5, 7), 2 * 6 * 35),
        (nn.SyncBatchNorm(6), (1, 6, 5, 7), 0),
        (nn.ReLU(), (1, 6, 5, 7), 6 * 35),
        (nn.Sigmoid(), (1, 6, 5, 7), 0),
        (nn.MaxPool2d(3, 2, 1), (1, 6, 5, 7), 6 * 35),
        (nn.AdaptiveAvgPool2d(1), (1, 6, 5, 7), 6 * 35),
        (nn.Upsample(scale_factor=2), (1, 6, 5, 7), 6 * 140),
        (nn.Linear(6, 8), (1, 6), 48),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_each_module_counts_by_the_rule(module, shape, expected):
    assert counts(module, *shape)["published_flops"] == expected


def involution_flops(channels, reduced, taps, window, size, out, pooled):
    """Reduction with norm and ReLU, span with bias, aggregation; pooling where there is a stride."""
    return (
        out * (channels * reduced + 3 * reduced)
        + out * taps * (reduced + 1)
        + out * channels * window
        + (channels * size if pooled else 0)
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_involution_counts_reduction_span_and_aggregation(stride):
    size, out = 7 * 6, (7 * 6, 4 * 3)[stride - 1]
    expected = involution_flops(32, 8, 50, 25, size, out, pooled=stride == 2)
    assert counts(Involution2d(32, 5, stride=stride), 1, 32, 7, 6)["published_flops"] == expected


def test_involution_counts_the_same_whether_its_span_is_called_or_fused():
    class Called(Involution2d):
        def forward(self, x):
            return torch.ops.involution.involution2d(x, self.kernel(x), self.stride, self.padding, self.dilation)

    class Fused(Involution2d):
        def forward(self, x):
            reduced = self.conv1(self.pool(x))
            kernel = nn.functional.conv2d(reduced, self.conv2.conv.weight, self.conv2.conv.bias)
            kernel = kernel.unflatten(1, [self.groups, *self.kernel_size])
            return torch.ops.involution.involution2d(x, kernel, self.stride, self.padding, self.dilation)

    args = (1, 32, 9, 9)
    assert counts(Called(32, 3, out_channels=48), *args) == counts(Fused(32, 3, out_channels=48), *args)


def test_multiply_adds_include_the_classifier_and_no_elementwise_work():
    found = profile("rednet26", (64, 64), num_classes=10)
    without = profile("rednet26", (64, 64), num_classes=0)
    assert found["macs"] - without["macs"] == 2048 * 10
    assert found["published_flops"] == without["published_flops"]
    assert found["params"] - without["params"] == 2048 * 10 + 10


@pytest.mark.parametrize("size", [(224, 224), (65, 33)])
def test_both_counts_agree_on_what_they_share(size):
    """The paper's rule, less the elementwise work it adds and plus the classifier it leaves out, is the other."""
    from involution.models import RedNet

    with torch.device("meta"):
        model = RedNet(26, stem_kernel_size=7).eval()
    elementwise = 0

    def hook(module, inputs, y):
        nonlocal elementwise
        match module:
            case nn.BatchNorm2d():
                elementwise += 2 * y.numel()
            case nn.ReLU():
                elementwise += y.numel()
            case nn.MaxPool2d() | nn.AvgPool2d() | nn.AdaptiveAvgPool2d():
                elementwise += inputs[0].numel()
            case Involution2d():  # the bias of the span
                elementwise += module.groups * module.kernel_size[0] * module.kernel_size[1] * y[0, 0].numel()

    for module in model.modules():
        module.register_forward_hook(hook)
    found = _count(model, "rednet26", (1, 3, *size))
    assert found["published_flops"] - elementwise + 2048 * 1000 == found["macs"]


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("rednet55", {}, r"name: expected a network of timm's registry, got 'rednet55'; close matches: .*rednet50"),
        ("", {}, "name: expected a network of timm's registry, got ''"),
        ("rednet26", {"input_size": (224,)}, r"input_size: expected height and width in pixels.*got \(224,\)"),
        ("rednet26", {"input_size": (0, 8)}, r"input_size: expected height and width in pixels.*got \(0, 8\)"),
        ("rednet26", {"input_size": (2.5, 8)}, "input_size: expected height and width"),
        ("rednet26", {"colour": 3}, r"rednet26: expected arguments of the network, got {'colour': 3}"),
        ("vgg11", {"input_size": (8, 8)}, "input_size: expected a size that vgg11 takes, got 8 x 8"),
    ],
)
def test_errors_name_the_argument(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        profile(name, **kwargs)
