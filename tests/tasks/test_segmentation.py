"""Segmentation as a task: its loss, its metric against plain counting, its inference, and one step of every variant."""

import json
import math
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from involution.data import IGNORE_INDEX, PredictionBatch, SegmentationBatch, SemanticMaskFolder
from involution.tasks import PolynomialPerIteration, Segmentation
from involution.tasks.metrics.mean_iou import MeanIoU
from involution.tasks.segmentation import pixel_loss
from involution.tasks.sliding_window import slide

# Warnings about Lightning's internals, and about intended settings of the tests.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]

COLORS = {"sky": [0, 0, 255], "road": [99, 99, 99], "car": [255, 0, 0]}
SMALL = {"semantic_fpn": {"channels": 32, "head_channels": 16}, "upernet": {"channels": 32, "auxiliary_channels": 16}}


def task(segmentor="semantic_fpn", network="test_resnet", **kwargs):
    given = {
        "classes": list(COLORS),
        "eval_transform": {"values": [0, 1, 2], "ignored": [9], "colors": list(COLORS.values()), "scale": 0.5},
        "auxiliary_weight": 0.4,
        "optimizer": partial(torch.optim.SGD, lr=0.1),
        "schedule": PolynomialPerIteration(0.9, 0.01, 0, 1.0),
        "options": SMALL[segmentor],
        **kwargs,
    }
    return Segmentation(segmentor, network, **given)


def by_hand(predicted, true, classes):
    """Mean IoU, accuracy and IoU of every class, counted pixel by pixel in plain Python."""
    confusion = [[0.0] * classes for _ in range(classes)]
    for p, t in zip(predicted.flatten().tolist(), true.flatten().tolist(), strict=True):
        if t != IGNORE_INDEX:
            confusion[t][p] += 1
    iou = {}
    for c in range(classes):
        union = sum(confusion[c]) + sum(row[c] for row in confusion) - confusion[c][c]
        if union:
            iou[c] = confusion[c][c] / union
    total = sum(map(sum, confusion))
    return sum(iou.values()) / len(iou), sum(confusion[c][c] for c in range(classes)) / total, iou


def test_metric_equals_plain_counting():
    """Class 4 is absent, class 3 only predicted, class 2 present but not predicted; a fifth is ignored."""
    generator = torch.Generator().manual_seed(0)
    names = list("abcde")
    metric = MeanIoU(names)
    batches = []
    for _ in range(3):
        true = torch.randint(0, 3, (2, 17, 23), generator=generator)
        predicted = torch.tensor([0, 1, 3])[torch.randint(0, 3, true.shape, generator=generator)]
        true[torch.rand(true.shape, generator=generator) < 0.2] = IGNORE_INDEX
        metric.update(predicted, true)
        batches.append((predicted, true))
    figures = {name: value.item() for name, value in metric.compute().items()}
    miou, accuracy, iou = by_hand(*(torch.cat(part) for part in zip(*batches, strict=True)), 5)
    assert figures.pop("miou") == pytest.approx(miou, abs=1e-12)
    assert figures.pop("accuracy") == pytest.approx(accuracy, abs=1e-12)
    assert set(figures) == {"iou/a", "iou/b", "iou/c", "iou/d"}
    assert figures == pytest.approx({f"iou/{names[c]}": value for c, value in iou.items()}, abs=1e-12)
    assert figures["iou/c"] == figures["iou/d"] == 0


def test_metric_of_ignored_pixels_alone_is_empty():
    metric = MeanIoU(["a", "b"])
    metric.update(torch.zeros(1, 4, 4, dtype=torch.int64), torch.full((1, 4, 4), IGNORE_INDEX))
    assert metric.compute() == {}


def test_loss_is_the_mean_over_labelled_pixels():
    scores = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    masks = torch.randint(0, 3, (2, 5, 7))
    masks[0, :2] = IGNORE_INDEX
    terms = [
        math.log(sum(math.exp(s) for s in scores[b, :, i, j].tolist())) - scores[b, masks[b, i, j], i, j].item()
        for b in range(2)
        for i in range(5)
        for j in range(7)
        if masks[b, i, j] != IGNORE_INDEX
    ]
    assert pixel_loss(scores, masks).item() == pytest.approx(sum(terms) / len(terms), rel=1e-6)


def test_loss_without_a_labelled_pixel_is_zero_and_so_is_its_gradient():
    scores = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = pixel_loss(scores, torch.full((1, 4, 4), IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0
    assert (scores.grad == 0).all()


def test_one_window_is_the_whole_image(one_thread):
    one, whole = task(window=[24, 40]), task()
    one.load_state_dict(whole.state_dict())
    image = torch.rand(1, 3, 48, 80)
    torch.testing.assert_close(one.eval().scores(image), whole.eval().scores(image), rtol=0, atol=0)
    larger = task(window=[100, 100])
    larger.load_state_dict(whole.state_dict())
    torch.testing.assert_close(larger.eval().scores(image), whole.scores(image), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(24, 36), (25, 41), (47, 24), (12, 13)])
def test_windows_of_a_network_that_sees_single_pixels_give_its_answer(size):
    network = nn.Conv2d(3, 4, 1).double()
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    seen = []

    def spy(window):
        seen.append(tuple(window.shape[2:]))
        return network(window)

    torch.testing.assert_close(slide(spy, x, (24, 24)), network(x))
    assert set(seen) == {(min(24, size[0]), min(24, size[1]))}


def test_overlapping_windows_are_averaged():
    values = iter([1.0, 3.0])
    y = slide(lambda x: x.new_full((1, 1, *x.shape[2:]), next(values)), torch.zeros(1, 3, 6, 10), (6, 6))
    assert y[0, 0, 0].tolist() == [1.0] * 4 + [2.0] * 2 + [3.0] * 4


@pytest.mark.parametrize("size", [(33, 47), (64, 64), (50, 31)])
def test_masks_have_the_size_of_the_image(size, one_thread):
    whole, windows = task(), task(window=[16, 16])
    assert whole.eval().predict_mask(torch.rand(3, *size)).shape == size
    assert windows.eval().predict_mask(torch.rand(3, *size)).shape == size


def trainer(folder, **kwargs):
    return pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **kwargs,
    )


@pytest.mark.parametrize("network", ["test_resnet", "rednet26"])
@pytest.mark.parametrize("segmentor", SMALL)
@pytest.mark.parametrize("neck", ["convolution", "involution"])
def test_every_variant_trains_a_step_and_is_evaluated(segmentor, network, neck, tmp_path, draw_scenes, one_thread):
    data = SemanticMaskFolder(str(draw_scenes(tmp_path)), COLORS, 9, [32, 32], 4, scale=1.0, num_workers=0)
    model = task(segmentor, network, options={**SMALL[segmentor], "neck": neck})
    before = model.net.decode_head.conv_seg.weight.clone()
    run = trainer(tmp_path, limit_train_batches=1, logger=False, enable_checkpointing=False)
    run.fit(model, data)
    assert run.callback_metrics["train/loss"].isfinite()
    assert run.callback_metrics["train/empty_crops"] == 0
    assert not torch.equal(model.net.decode_head.conv_seg.weight, before)
    [figures] = run.test(model, data, verbose=False)
    assert {"test/miou", "test/accuracy", "test/loss", "test/iou/sky", "test/iou/car"} <= set(figures)
    assert 0 <= figures["test/miou"] <= 1


def test_empty_crops_are_counted_and_do_no_harm(one_thread, monkeypatch):
    model = task("upernet")
    logged = {}
    monkeypatch.setattr(model, "log", lambda name, value, **_: logged.__setitem__(name, value))
    masks = [
        torch.full((32, 32), IGNORE_INDEX),
        torch.zeros(32, 32, dtype=torch.int64),
        torch.full((32, 32), IGNORE_INDEX),
    ]
    loss = model.training_step(SegmentationBatch([torch.rand(3, 32, 32) for _ in masks], masks), 0)
    assert loss.isfinite()
    assert logged["train/empty_crops"] == 2
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    nothing = SegmentationBatch([torch.rand(3, 32, 32)] * 2, [torch.full((32, 32), IGNORE_INDEX)] * 2)
    assert model.training_step(nothing, 0) == 0


def test_the_auxiliary_loss_has_its_weight(one_thread):
    masks = torch.randint(0, 3, (2, 32, 32))
    batch = SegmentationBatch(list(torch.rand(2, 3, 32, 32)), list(masks))
    losses = []
    for weight in (0.0, 0.4, 1.0):
        torch.manual_seed(0)
        model = task("upernet", auxiliary_weight=weight)
        model.log = lambda *_, **__: None
        torch.manual_seed(0)
        losses.append(model.training_step(batch, 0).item())
    assert losses[2] > losses[0]
    assert losses[1] - losses[0] == pytest.approx(0.4 * (losses[2] - losses[0]), rel=1e-4)


@pytest.mark.parametrize(("segmentor", "part"), [("semantic_fpn", "out"), ("upernet", "out"), ("upernet", "aux")])
def test_channels_are_dropped_before_the_scores_in_training_alone(segmentor, part, one_thread):
    model = task(segmentor)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        first, second = (model(images)[part] for _ in range(2))
        assert not torch.equal(first, second)
        model.eval()
        assert torch.equal(model(images)["out"], model(images)["out"])


def test_predictions_are_written_in_the_values_of_the_data_and_in_colour(tmp_path, one_thread):
    model = task(eval_transform={"values": [7, 8, 11], "ignored": [], "colors": list(COLORS.values())}).eval()
    with torch.no_grad():
        model.net.decode_head.conv_seg.bias.copy_(torch.tensor([0.0, 0.0, 1e4]))
    image = torch.zeros(3, 21, 34)
    [found] = model.predict_step(PredictionBatch([image], ["folder/street.jpg"]), 0)
    assert model.summary(found) == {"image": "folder/street.jpg", "classes": [{"name": "car", "share": 1.0}]}
    assert json.dumps(model.summary(found))
    assert model.line(model.summary(found)) == "car 100.0%"
    model.write(image, found, tmp_path)
    assert (np.array(Image.open(tmp_path / "street_mask.png")) == np.full((21, 34), 11)).all()
    assert (np.array(Image.open(tmp_path / "street.png")) == np.array([153, 0, 0])).all()  # 0.6 of red over black


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentor": "deeplab"}, "segmentor: expected one of semantic_fpn, upernet, got 'deeplab'"),
        ({"window": [8]}, r"window: expected height and width in pixels or null, got \[8\]"),
        ({"options": {"colour": 3}}, "backbone: expected .*colour"),
        ({"network": "resnet5"}, "backbone: expected a network of timm's registry"),
    ],
)
def test_errors_name_the_argument(change, message):
    with pytest.raises(ValueError, match=message):
        given = {"segmentor": "semantic_fpn", "options": {}, **change}
        kind = given.pop("segmentor")
        if kind in SMALL:
            task(kind, **given)
        else:
            Segmentation(
                kind, "test_resnet", list(COLORS), {"values": [0, 1], "ignored": [], "colors": []}, 0.0, None, None
            )


@pytest.mark.parametrize(("world_size", "device", "synchronized"), [(1, "cuda", 0), (2, "cuda", 2), (2, "cpu", 0)])
def test_norms_are_synchronized_as_published(world_size, device, synchronized, monkeypatch):
    model = task("semantic_fpn", "rednet26", options={**SMALL["semantic_fpn"], "neck": "involution"}, synchronize=True)
    strategy = SimpleNamespace(root_device=torch.device(device))
    monkeypatch.setattr(Segmentation, "trainer", SimpleNamespace(world_size=world_size, strategy=strategy))
    if (world_size, device) == (2, "cpu"):
        with pytest.warns(UserWarning, match="synchronize: batch norms are not synchronized"):
            model.setup("fit")
    else:
        model.setup("fit")
    norms = [m for m in model.net.decode_head.modules() if isinstance(m, nn.BatchNorm2d | nn.SyncBatchNorm)]
    assert {type(m) for m in norms} == {nn.SyncBatchNorm if synchronized else nn.BatchNorm2d}
    assert not [m for layer in model.net.neck.modules() for m in layer.children() if isinstance(m, nn.SyncBatchNorm)]


def test_mean_iou_is_computed_where_float64_exists():
    class WithoutFloat64(torch.Tensor):
        def double(self):
            raise TypeError("no float64 on this device")

        def cpu(self):
            return self.as_subclass(torch.Tensor)

    metric = MeanIoU(["a", "b"])
    metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    metric.confmat = metric.confmat.as_subclass(WithoutFloat64)
    assert metric.compute()["miou"] == 0.5
