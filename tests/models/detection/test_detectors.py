import gc
import math

import pytest
import torch
from torch import nn
from torchvision.models import detection as torchvision_detection
from torchvision.models.detection.anchor_utils import AnchorGenerator

from involution.layers import Involution2d
from involution.models.counting.complexity import profile
from involution.models.detection import DETECTORS, faster_rcnn, mask_rcnn, retinanet
from involution.models.detection.heads import MaskHead, RetinaNet

SMALL = {"channels": 16, "mid_widths": (16, 16, 32, 32), "settings": {"min_size": 64, "max_size": 96}}
VARIANTS = [
    *((kind, neck, head) for kind in ("faster_rcnn", "mask_rcnn") for neck, head in (("convolution", "convolution"),)),
    *((kind, "involution", head) for kind in ("faster_rcnn", "mask_rcnn") for head in ("convolution", "involution")),
    ("retinanet", "convolution", None),
    ("retinanet", "involution", None),
]
IMAGES = [torch.rand(3, 64, 80), torch.rand(3, 70, 50)]


def build(kind, neck="involution", head="involution", **kwargs):
    heads = {} if kind == "retinanet" else {"head": head}
    torch.manual_seed(0)
    return DETECTORS[kind]("rednet26", neck, num_classes=3, **heads, **{**SMALL, **kwargs})


def targets(masks=True):
    boxes = torch.tensor([[4.0, 4.0, 40.0, 50.0], [10.0, 20.0, 30.0, 60.0]])
    found = []
    for image in IMAGES:
        mask = torch.zeros(2, *image.shape[1:], dtype=torch.uint8)
        for m, (x1, y1, x2, y2) in zip(mask, boxes.int().tolist(), strict=True):
            m[y1:y2, x1:x2] = 1
        found.append({"boxes": boxes, "labels": torch.tensor([1, 2]), **({"masks": mask} if masks else {})})
    return found


def threshold(detector, score):
    (detector if isinstance(detector, RetinaNet) else detector.roi_heads).score_thresh = score


@pytest.mark.parametrize(("kind", "neck", "head"), VARIANTS)
def test_a_step_and_an_evaluation(kind, neck, head, one_thread):
    detector = build(kind, neck, head).train()
    losses = detector(IMAGES, targets())
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    missing = [n for n, p in detector.named_parameters() if p.grad is None]
    assert not missing
    threshold(detector, 0.0)  # so that there are detections to check
    answers = detector.eval()(IMAGES)
    for answer, image in zip(answers, IMAGES, strict=True):
        height, width = image.shape[1:]
        assert len(answer["boxes"]) > 5
        assert answer["boxes"].amin() >= 0
        assert (answer["boxes"] <= torch.tensor([width, height] * 2)).all()
        assert set(answer["labels"].tolist()) <= {1, 2}
        assert ("masks" in answer) == (kind == "mask_rcnn")
        if "masks" in answer:
            assert answer["masks"].shape == (len(answer["boxes"]), 1, height, width)
    again = build(kind, neck, head, settings=SMALL["settings"]).eval()
    again.load_state_dict(detector.state_dict())
    threshold(again, 0.0)
    for ours, theirs in zip(answers, again(IMAGES), strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(("kind", "neck", "head"), VARIANTS)
def test_involutions_stand_where_they_were_asked_for(kind, neck, head):
    detector = build(kind, neck, head)
    counts = [isinstance(m, Involution2d) for m in detector.backbone.fpn.modules()].count(True)
    levels = 3 if kind == "retinanet" else 4
    assert counts == (levels if neck == "involution" else 0)
    if kind != "retinanet":
        assert isinstance(detector.rpn.head.conv, Involution2d) == (head == "involution")
    if kind == "mask_rcnn":
        layers = [m for m in detector.roi_heads.mask_head if not isinstance(m, nn.ReLU)]
        assert [isinstance(m, Involution2d) for m in layers] == [head == "involution"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", DETECTORS)
def test_images_without_objects(kind, one_thread):
    detector = build(kind).train()
    empty = [{k: v[:0] for k, v in target.items()} for target in targets()]
    sum(detector(IMAGES, empty).values()).backward()
    sum(detector(IMAGES, [targets()[0], empty[1]]).values()).backward()
    assert all(torch.isfinite(b).all() for b in detector.buffers())  # of the batch norms
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())


@pytest.mark.parametrize(("kind", "neck", "head"), VARIANTS)
def test_every_parameter_has_a_gradient_without_objects(kind, neck, head, one_thread):
    """DistributedDataParallel waits for the gradient of every parameter in every step."""
    detector = build(kind, neck, head).train()
    empty = [{k: v[:0] for k, v in target.items()} for target in targets(masks=kind == "mask_rcnn")]
    sum(detector(IMAGES, empty).values()).backward()
    without = [name for name, p in detector.named_parameters() if p.grad is None]
    assert not without
    if kind == "mask_rcnn":
        assert not any(p.grad.any() for p in detector.roi_heads.mask_head.parameters())


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_step_leaves_no_tensor_behind(kind, one_thread):
    """Otherwise the memory of a long run grows."""
    detector, given, counts = build(kind).train(), targets(masks=kind == "mask_rcnn"), []
    for images in (IMAGES, IMAGES, IMAGES[::-1], IMAGES):
        detector.zero_grad()
        sum(detector(images, given if images is IMAGES else given[::-1]).values()).backward()
        gc.collect()
        counts.append(sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects()))
    assert counts[1] == counts[3]


@pytest.mark.parametrize("kind", DETECTORS)
def test_boxes_stay_float32_under_autocast(kind, one_thread):
    """In bfloat16, coordinates beyond 256 are multiples of 2."""
    detector = build(kind, settings={"min_size": 64, "max_size": 2048}).train()
    seen = {}
    part = detector.head if kind == "retinanet" else detector.rpn.head
    part.register_forward_hook(lambda module, inputs, y: seen.__setitem__("head", y))
    anchors = detector.anchor_generator if kind == "retinanet" else detector.rpn.anchor_generator
    anchors.register_forward_hook(lambda module, inputs, y: seen.__setitem__("anchors", y))
    if kind != "retinanet":
        detector.rpn.register_forward_hook(lambda module, inputs, y: seen.__setitem__("proposals", y[0]))
        detector.roi_heads.box_predictor.register_forward_hook(lambda m, i, y: seen.__setitem__("boxes", y))
    image = torch.rand(3, 64, 1200)
    target = {"boxes": torch.tensor([[1001.0, 3.0, 1090.0, 60.0]]), "labels": torch.tensor([1])}
    target["masks"] = torch.ones(1, 64, 1200, dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        detector([image], [target])
    found = [x for value in seen.values() for x in torch.utils._pytree.tree_leaves(value)]
    assert len(seen) == (2 if kind == "retinanet" else 4)
    assert {x.dtype for x in found} == {torch.float32}
    assert any((a > 1000).any() and (a[a > 1000] % 2 > 0).any() for a in seen["anchors"])


def test_the_settings_of_the_paper():
    detector = mask_rcnn("rednet26", "involution", "involution")
    rpn, heads = detector.rpn, detector.roi_heads
    assert rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert set(rpn.anchor_generator.aspect_ratios) == {(0.5, 1.0, 2.0)}
    assert rpn._pre_nms_top_n == {"training": 2000, "testing": 1000}
    assert rpn._post_nms_top_n == {"training": 1000, "testing": 1000}
    assert (rpn.nms_thresh, rpn.proposal_matcher.high_threshold, rpn.proposal_matcher.low_threshold) == (0.7, 0.7, 0.3)
    assert (rpn.fg_bg_sampler.batch_size_per_image, rpn.fg_bg_sampler.positive_fraction) == (256, 0.5)
    assert (heads.fg_bg_sampler.batch_size_per_image, heads.fg_bg_sampler.positive_fraction) == (512, 0.25)
    assert (heads.proposal_matcher.high_threshold, heads.proposal_matcher.low_threshold) == (0.5, 0.5)
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.05, 0.5, 100)
    assert heads.box_coder.weights == (10.0, 10.0, 5.0, 5.0)  # one over 0.1, 0.1, 0.2, 0.2
    assert (heads.box_roi_pool.output_size, heads.box_roi_pool.sampling_ratio) == ((7, 7), 0)
    assert (heads.mask_roi_pool.output_size, heads.mask_roi_pool.sampling_ratio) == ((14, 14), 0)
    assert heads.mask_predictor.mask_fcn_logits.out_channels == 80
    assert (detector.transform.min_size, detector.transform.max_size) == ((800,), 1333)


def test_the_settings_of_retinanet():
    detector = retinanet("rednet26")
    anchors = detector.anchor_generator
    strides = (8, 16, 32, 64, 128)
    expected = [[4 * stride * 2 ** (octave / 3) for octave in range(3)] for stride in strides]
    assert [list(sizes) for sizes in anchors.sizes] == [pytest.approx(sizes) for sizes in expected]
    assert anchors.num_anchors_per_location() == [9] * 5
    matcher = detector.proposal_matcher
    assert (matcher.high_threshold, matcher.low_threshold, matcher.allow_low_quality_matches) == (0.5, 0.4, True)
    assert (detector.score_thresh, detector.nms_thresh, detector.detections_per_img) == (0.05, 0.5, 100)
    assert detector.topk_candidates == 1000
    head = detector.head.classification_head
    assert head.cls_logits.out_channels == 720
    assert head.cls_logits.bias[0].item() == pytest.approx(-math.log(99), rel=1e-5)


def test_the_backbone_is_frozen_as_in_the_paper():
    detector = faster_rcnn("rednet26", frozen_stages=1, norm_eval=True, weights="LATER")
    trained = {
        n.split(".")[3] for n, p in detector.named_parameters() if p.requires_grad and n.startswith("backbone.body")
    }
    assert trained == {"layer2", "layer3", "layer4"}
    assert not any(m.training for m in detector.backbone.body.modules() if isinstance(m, nn.BatchNorm2d))
    involved = mask_rcnn("rednet26", "involution", "involution", norm_eval=True, weights="LATER").train()
    norms = [m for n, m in involved.named_modules() if isinstance(m, nn.BatchNorm2d) and "backbone.body" not in n]
    assert len(norms) == 4 + 1 + 4
    assert all(m.training for m in norms)


def test_involutions_of_a_mask_head_can_start_around_the_identity():
    head = MaskHead(32, "involution", "identity").eval()
    for layer in list(head)[::2]:
        kernel = layer.kernel(torch.zeros(1, 32, 3, 3))  # that of a black image is the bias
        identity = torch.zeros(7, 7)
        identity[3, 3] = 1
        assert torch.equal(kernel, identity[None, None, :, :, None, None].expand_as(kernel))


def test_losses_and_gradients_of_retinanet_are_those_of_torchvision(one_thread):
    """Same images, features, anchors and weights of the head; torchvision's labels count from 0."""
    ours = build("retinanet").train()
    levels = AnchorGenerator(ours.anchor_generator.sizes, ours.anchor_generator.aspect_ratios)
    theirs = torchvision_detection.RetinaNet(ours.backbone, 2, anchor_generator=levels, **SMALL["settings"]).train()
    theirs.head.load_state_dict(ours.head.state_dict())
    shifted = [{**t, "labels": t["labels"] - 1} for t in targets(masks=False)]
    losses = []
    for detector, given in ((ours, targets(masks=False)), (theirs, shifted)):
        losses.append(detector(IMAGES, given))
        sum(losses[-1].values()).backward()
    assert {k: v.item() for k, v in losses[0].items()} == pytest.approx(
        {k: v.item() for k, v in losses[1].items()}, rel=1e-5
    )
    for (name, a), b in zip(ours.head.named_parameters(), theirs.head.parameters(), strict=True):
        assert a.grad.any(), name
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6 * a.grad.abs().max().item(), msg=name)


def test_labels_of_retinanets_detections_count_from_one(one_thread):
    detector = build("retinanet").eval()
    with torch.no_grad():
        detector.head.classification_head.cls_logits.bias.view(9, 2)[:, 1] = 5.0
    assert set(detector(IMAGES)[0]["labels"].tolist()) == {2}


def test_weights_of_torchvisions_detector_fit_the_pyramid():
    theirs = torchvision_detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).backbone.fpn
    ours = faster_rcnn("resnet50").backbone.fpn
    missing, unexpected = ours.load_state_dict(theirs.state_dict())
    assert not missing
    assert not unexpected


@pytest.mark.slow
def test_backbone_and_neck_compile_for_varying_sizes(one_thread):
    settings = {name: SMALL[name] for name in ("channels", "settings")}
    detector = DETECTORS["faster_rcnn"]("test_resnet", "involution", num_classes=3, **settings).eval()
    images = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 96)
    expected = [detector.backbone(x) for x in images]
    detector.backbone.compile(backend="eager", fullgraph=True, dynamic=True)
    for x, levels in zip(images, expected, strict=True):
        for name, y in detector.backbone(x).items():
            torch.testing.assert_close(y, levels[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_init": "zero"}, "mask_init: expected one of he, identity, got 'zero'"),
        ({"frozen_stages": 1}, "weights: expected a file or DEFAULT for a backbone with frozen_stages=1"),
        ({"neck": "attention"}, "neck: expected one of convolution, involution, got 'attention'"),
        ({"head": "attention"}, "head: expected one of convolution, involution, got 'attention'"),
        ({"settings": {"anchors": 3}}, "settings: expected arguments of torchvision's MaskRCNN, got anchors"),
        (
            {"stem_width": 3},
            "backbone: expected a network with four stages that takes {'stem_width': 3.*}, got rednet26",
        ),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        mask_rcnn("rednet26", **arguments)


def test_profile_takes_a_detector_by_name():
    found = profile("faster_rcnn/rednet26/involution/involution")
    assert found["input_size"] == [800, 1280]
    assert found["trainable_params"] < found["params"]
    with pytest.raises(ValueError, match="name: expected parts and arguments of retinanet"):
        profile("retinanet/rednet26/involution/involution/more/parts/than/it/has/of/them")


def test_images_are_normalized_as_for_the_backbone():
    for detector in (faster_rcnn("rednet26"), retinanet("rednet26")):
        assert detector.transform.image_mean == [0.485, 0.456, 0.406]
        assert detector.transform.image_std == [0.229, 0.224, 0.225]


@pytest.mark.slow
def test_heads_start_with_the_published_deviations():
    torch.manual_seed(0)
    detector = mask_rcnn("rednet26")
    rpn, heads = detector.rpn.head, detector.roi_heads
    expected = {
        rpn.conv: 0.01,
        rpn.cls_logits: 0.01,
        rpn.bbox_pred: 0.01,
        heads.box_predictor.cls_score: 0.01,
        heads.box_predictor.bbox_pred: 0.001,
        heads.box_head.fc6: (2 / (256 * 49 + 1024)) ** 0.5,
        heads.box_head.fc7: (2 / 2048) ** 0.5,
        heads.mask_head[0]: (2 / (256 * 9)) ** 0.5,
        heads.mask_predictor.conv5_mask: (2 / (256 * 4)) ** 0.5,
        heads.mask_predictor.mask_fcn_logits: (2 / 80) ** 0.5,
    }
    for layer, deviation in expected.items():
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.12)
        assert not layer.bias.any()
    involved = mask_rcnn("rednet26", head="involution").roi_heads
    assert involved.mask_head[0].conv2.conv.weight.std().item() == pytest.approx((2 / 784) ** 0.5, rel=0.12)
    assert not involved.mask_head[0].conv2.conv.bias.any()
    steady = mask_rcnn("rednet26", head="involution", num_classes=2, mask_init="identity").roi_heads
    assert steady.mask_predictor.mask_fcn_logits.weight.std().item() == pytest.approx(0.01, rel=0.15)
    for part in retinanet("rednet26").head.children():
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                assert layer.weight.std().item() == pytest.approx(0.01, rel=0.12)
