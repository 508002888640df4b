"""Segmentors: sizes, gradients, synchronized norms, and errors. Their counts: tests/records/test_published.py."""

import pytest
import timm
import torch
from torch import nn

from involution import Involution2d
from involution.models.counting.complexity import profile
from involution.models.segmentation import SEGMENTORS, semantic_fpn, upernet
from involution.models.segmentation.segmentors import synchronize_norms
from involution.models.segmentation.upernet import POOLED

SMALL = {"semantic_fpn": {"channels": 32, "head_channels": 16}, "upernet": {"channels": 32, "auxiliary_channels": 16}}
VARIANTS = [(name, neck) for name in SEGMENTORS for neck in ("convolution", "involution")]


def build(name, neck="convolution", backbone="test_resnet", **kwargs):
    return SEGMENTORS[name](backbone, neck, num_classes=5, **SMALL[name], **kwargs)


@pytest.mark.parametrize(("name", "neck"), VARIANTS)
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 64), (127, 70)])
def test_every_size_gives_scores_of_that_size(name, neck, size, one_thread):
    net = build(name, neck).eval()
    scores = net(torch.rand(1, 3, *size))
    assert {key: tuple(y.shape) for key, y in scores.items()} == {"out": (1, 5, *size)}
    assert scores["out"].isfinite().all()


@pytest.mark.parametrize(("name", "neck"), VARIANTS)
def test_every_parameter_learns(name, neck, one_thread):
    net = build(name, neck)
    scores = net(torch.rand(2, 3, 64, 96))
    assert set(scores) == ({"out", "aux"} if name == "upernet" else {"out"})
    sum(y.square().sum() for y in scores.values()).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert not without


def test_the_neck_is_of_the_kind_that_was_asked_for():
    def count(net):
        return sum(isinstance(module, Involution2d) for module in net.modules())

    assert [count(build("semantic_fpn", neck)) for neck in ("convolution", "involution")] == [0, 4]
    assert [count(build("upernet", neck)) for neck in ("convolution", "involution")] == [0, 3]


def test_a_resnet_has_the_deep_stem_of_the_paper_unless_a_tag_says_otherwise():
    with torch.device("meta"):
        deep, plain = semantic_fpn("resnet50"), semantic_fpn("resnet50.tv_in1k")
    kernels = [[m.kernel_size[0] for m in net.modules() if isinstance(m, nn.Conv2d)][:3] for net in (deep, plain)]
    assert kernels == [[3, 3, 3], [7, 1, 3]]


def test_semantic_fpn_is_the_sum_of_levels_brought_to_the_finest(one_thread):
    """Each level separately: the head is linear after its last ReLU, so the outputs of single levels add up."""
    head = build("semantic_fpn").decode_head.double().eval()
    maps = [torch.rand(1, 32, 16 // 2**i, 24 // 2**i, dtype=torch.float64) for i in range(4)]
    total = 0
    for level, (steps, x) in enumerate(zip(head.scale_heads, maps, strict=True)):
        blocks = [m for m in steps if not isinstance(m, nn.Upsample)]
        assert len(blocks) == max(level, 1)
        for block in blocks:
            x = block(x)
            if level:
                x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    torch.testing.assert_close(head(maps), head.conv_seg(total))


def test_upernet_pools_the_last_stage_to_four_sizes():
    head = build("upernet").decode_head
    x = torch.rand(2, head.psp_modules[0][1].conv.in_channels, 9, 13)
    assert [tuple(pool[0](x).shape[2:]) for pool in head.psp_modules] == [(side, side) for side in POOLED]


def test_norms_of_stem_and_involutions_stay_as_they_are():
    with torch.device("meta"):
        net = synchronize_norms(semantic_fpn("rednet26", "involution"))
    plain = [name for name, m in net.named_modules() if type(m) is nn.BatchNorm2d]
    synchronized = [name for name, m in net.named_modules() if isinstance(m, nn.SyncBatchNorm)]
    involutions = [name for name, m in net.named_modules() if isinstance(m, Involution2d)]
    assert {name.removesuffix(".conv1.bn") for name in plain if name.endswith(".conv1.bn")} == set(involutions)
    assert [name for name in plain if not name.endswith(".conv1.bn")] == ["backbone.body.stem.2"]
    assert {"decode_head.scale_heads.0.0.bn", "backbone.body.stem.0.bn"} <= set(synchronized)


# In G at a quarter of the published size, from the counter of the official framework.
QUARTER = {
    "semantic_fpn/resnet50": 90.701,
    "semantic_fpn/rednet50": 73.482,
    "semantic_fpn/rednet50/involution": 51.287,
    "upernet/resnet50": 473.651,
    "upernet/rednet50": 456.432,
}


@pytest.mark.parametrize("name", QUARTER)
def test_counts_at_512_x_1024(name):
    assert round(profile(name, (512, 1024))["published_flops"] / 1e9, 3) == QUARTER[name]


@pytest.mark.slow
def test_rednet_saves_what_the_paper_says_under_upernet():
    resnet, rednet = profile("upernet/resnet50"), profile("upernet/rednet50")
    saved = [round(100 * (1 - rednet[column] / resnet[column]), 1) for column in ("params", "published_flops")]
    assert saved == [15.1, 3.6]


@pytest.mark.slow
def test_a_backbone_takes_the_weights_of_a_classifier_file(tmp_path):
    classifier = timm.create_model("rednet26", stem_kernel_size=7)
    torch.save(classifier.state_dict(), tmp_path / "rednet26.pth")
    net = semantic_fpn("rednet26", weights=str(tmp_path / "rednet26.pth"))
    for name, weight in net.backbone.body.state_dict().items():
        assert torch.equal(weight, classifier.state_dict()[name]), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: semantic_fpn("test_resnet", "pooling"),
            "neck: expected one of convolution, involution, got 'pooling'",
        ),
        (lambda: upernet("test_resnet", "pooling"), "neck: expected one of convolution, involution, got 'pooling'"),
        (lambda: upernet("resnet5"), "backbone: expected a network of timm's registry, got 'resnet5'"),
        (lambda: semantic_fpn("test_resnet", colour=1), "backbone: expected .* that takes .*colour"),
        (lambda: profile("upernet/rednet50/involution/more/and/more/yet"), "name: expected parts and arguments of"),
        (lambda: profile("deeplab/rednet50"), "name: expected one of .*semantic_fpn.* in front of the backbone"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", SEGMENTORS)
def test_a_tenth_of_the_channels_is_dropped_and_classifiers_start_small(name):
    net = build(name)
    rates = [m.p for m in net.modules() if isinstance(m, nn.Dropout2d)]
    assert rates == [0.1] * (2 if name == "upernet" else 1)
    heads = [net.decode_head, *([net.auxiliary_head] if name == "upernet" else [])]
    assert all(head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.25) for head in heads)
