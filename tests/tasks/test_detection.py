import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from pycocotools import mask as coco
from pycocotools.coco import COCO as Reference
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.ops import box_convert

from involution.cli import main
from involution.data import COCO, DetectionBatch, InstanceMaskFolder, PredictionBatch
from involution.tasks import CosinePerEpoch, Detection
from involution.tasks.pictures import draw_objects

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]

RECIPE = Path(__file__).parents[2] / "configs/coco_mask_rcnn.yaml"
OPTIONS = {"neck": "involution", "channels": 16, "frozen_stages": -1, "norm_eval": False}
SETTINGS = {"min_size": 64, "max_size": 96, "box_score_thresh": 0.0, "box_detections_per_img": 5}


def task(detector="mask_rcnn", classes=("bar",), **kwargs):
    given = {
        "network": "test_resnet",
        "eval_transform": {"channels": 3},
        "optimizer": partial(torch.optim.AdamW, lr=1e-3),
        "schedule": CosinePerEpoch(warmup_epochs=0, warmup_factor=1),
        "options": {**OPTIONS, "settings": SETTINGS},
    }
    torch.manual_seed(0)
    return Detection(detector, classes=list(classes), **{**given, **kwargs})


def trainer(root, logger=False, **kwargs):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(default_root_dir=root, accelerator="cpu", logger=logger, **quiet, **kwargs)


@pytest.fixture
def folder(draw_masks, tmp_path):
    return InstanceMaskFolder(
        str(draw_masks(tmp_path / "bars")), num_val_images=2, batch_size=2, num_workers=0, augmentation="hflip"
    )


@pytest.mark.slow
def test_losses_fall_and_pictures_are_logged(folder, tmp_path, one_thread):
    logger = TensorBoardLogger(tmp_path / "logs", "", "")
    learner = task()
    losses = []
    learner.on_train_batch_end = lambda outputs, *_: losses.append(outputs["loss"].item())
    trainer(tmp_path, logger, max_epochs=8, check_val_every_n_epoch=8).fit(learner, folder)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    assert events.Tags()["images"] == ["val/0", "val/1"]
    assert (events.Images("val/0")[0].width, events.Images("val/0")[0].height) == (64, 48)
    logged = set(events.Tags()["scalars"])
    parts = ("box_reg", "classifier", "mask", "objectness", "rpn_box_reg")
    assert {f"train/{part}" for part in ("loss", *parts)} <= logged
    assert {f"val/{kind}_{figure}" for kind in ("box", "mask") for figure in ("ap", "ap50", "ar_large")} <= logged
    assert len([name for name in logged if name.startswith("val/")]) == 24


def test_a_summary_says_in_json_what_was_found(one_thread):
    learner = task(classes=("bar", "disc")).eval()
    [prediction] = learner.predict_step(PredictionBatch([torch.rand(3, 48, 64)], ["x/a.png"]), 0)
    assert len(prediction["boxes"]) == 5
    summary = json.loads(json.dumps(learner.summary(prediction)))
    assert summary["image"] == "x/a.png"
    for found, box, mask, score, label in zip(
        summary["objects"], *(prediction[key] for key in ("boxes", "masks", "scores", "labels")), strict=True
    ):
        assert found["name"] == ("bar", "disc")[label - 1]
        assert found["score"] == pytest.approx(score.item())
        assert found["box"] == pytest.approx(box_convert(box, "xyxy", "xywh").tolist())
        assert (torch.from_numpy(coco.decode(found["mask"])) == (mask[0] > 0.5)).all()


def test_a_line_names_what_is_sure():
    objects = [{"name": "bar", "score": score} for score in (0.9, 0.8, 0.7, 0.7, 0.6, 0.55, 0.5, 0.4)]
    assert task().line({"objects": objects}) == "bar 90%  bar 80%  bar 70%  bar 70%  bar 60%  and 2 more"
    assert task().line({"objects": objects[-1:]}) == "nothing"


def test_pictures_show_boxes_and_masks():
    image = torch.zeros(3, 40, 40)
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 12:20] = 1
    found = {
        "boxes": torch.tensor([[10.0, 8.0, 24.0, 34.0]]),
        "labels": torch.tensor([1]),
        "scores": torch.tensor([0.9]),
        "masks": mask,
    }
    picture = draw_objects(image, found, ["bar"])
    assert picture[:, 20, 10].any()  # the left side of the box
    assert picture[:, 25, 15].any()  # inside the mask
    assert not picture[:, 32, 22].any()  # inside the box, outside the mask
    assert not picture[:, 38, 38].any()
    twice = {name: torch.cat([values, values]) for name, values in found.items()}
    assert draw_objects(image, twice, ["bar"])[:, 25, 15].any()  # where two masks overlap
    assert not draw_objects(image, {**found, "scores": torch.tensor([0.4])}, ["bar"]).any()


@pytest.mark.slow
def test_predictions_have_cocos_format(draw_coco, tmp_path, monkeypatch, capsys, one_thread):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    data = COCO(str(draw_coco(tmp_path / "coco")), batch_size=2, masks=True, num_workers=0)
    options = json.dumps({**OPTIONS, "settings": SETTINGS})
    recipe = [f"--config={RECIPE}", "--model.network=test_resnet", f"--model.options={options}"]
    place = [f"--data.root={data.root}", "--data.num_workers=0"]
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.enable_progress_bar=false"]
    assert main(["fit", *recipe, *place, *short]) == 0
    checkpoint = "--ckpt_path=runs/coco_mask_rcnn/version_0/checkpoints/last.ckpt"
    capsys.readouterr()
    assert main(["predict", checkpoint, "--data=COCO", *place, "--data.batch_size=2", "--out=found", "--json"]) == 0
    results = json.loads((tmp_path / "found/predictions.json").read_text())
    assert json.loads(capsys.readouterr().out) == results
    assert {r["image_id"] for r in results} <= set(data.val.annotations.image_ids.tolist())
    assert {r["category_id"] for r in results} <= {3, 17, 90}
    judged = Reference(str(data.val.file)).loadRes(results)
    assert len(judged.anns) == len(results) == 20
    assert len(list((tmp_path / "found").glob("*.png"))) == 4

    (tmp_path / "twice").mkdir()
    twin = shutil.copy(data.val.folder / "000000000001.png", tmp_path / "twice")
    assert main(["predict", str(data.val.folder), twin, checkpoint, "--out=twins"]) == 2
    assert "out: expected images of different names for one folder, got" in capsys.readouterr().err

    # The same images without the configuration: names instead of ids.
    assert main(["predict", str(data.val.folder), checkpoint, "--out=named"]) == 0
    named = json.loads((tmp_path / "named/predictions.json").read_text())
    assert [p["image"] for p in named] == sorted(map(str, data.val.folder.iterdir()))
    assert {o["name"] for p in named for o in p["objects"]} <= set(data.classes)


def test_compiled_is_backbone_with_neck():
    assert task(compile=True).net.backbone._compiled_call_impl is not None
    assert task().net.backbone._compiled_call_impl is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detector": "yolo"}, "detector: expected one of faster_rcnn, mask_rcnn, retinanet, got 'yolo'"),
        (
            {"detector": "retinanet", "options": {"head": "involution"}},
            "head: expected no such argument for retinanet, got 'involution'",
        ),
        ({"network": "resnet49"}, "backbone: expected a network of timm's registry, got 'resnet49'"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        task(**arguments)


def test_the_loss_is_the_sum_of_the_detectors_losses(one_thread):
    learner = task()
    losses = {"loss_a": torch.tensor(1.0), "loss_b": torch.tensor(2.0), "loss_mask": torch.tensor(4.0)}
    learner.net.forward = lambda images, targets: losses
    learner.log = learner.log_dict = lambda *_, **__: None
    assert learner.training_step(DetectionBatch([torch.rand(3, 8, 8)], [{}]), 0) == 7
