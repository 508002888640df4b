"""COCO's twelve figures through our data module and metric, against COCO's own code on the same files."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from coco_files import box_of, draw_coco, ellipse
from pycocotools.coco import COCO as Reference
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_convert

from involution.data import COCO
from involution.data.detection.run_lengths import decode_mask, encode_mask
from involution.tasks.metrics.average_precision import AveragePrecision

ORDER = "ap ap50 ap75 ap_small ap_medium ap_large ar1 ar10 ar100 ar_small ar_medium ar_large".split()


def images(data):
    """The identifier and the size of every image."""
    return zip(data.val.annotations.image_ids.tolist(), data.val.annotations.sizes.tolist(), strict=True)


def draw_results(data):
    """Synthetic detections: shifted objects, some missed, some false; none in a tenth of the images."""
    rng = np.random.default_rng(1)
    results = []
    for index, (number, size) in enumerate(images(data)):
        truth = data.val.target(index, *size)
        masks = [np.roll(m.numpy(), rng.integers(-4, 5, 2), (0, 1)) for m in truth["masks"] if rng.random() < 0.8]
        masks += [ellipse(rng, *size) for _ in range(rng.integers(0, 4))]
        ids = list(data.val.annotations.categories)
        named = [ids[label - 1] for label in truth["labels"].tolist()] + ids * 10
        for mask, category in zip(masks, named, strict=False):
            if mask.any() and index % 10 != 3:
                results.append(
                    {
                        "image_id": number,
                        "category_id": int(category),
                        "bbox": [v + float(rng.normal(0, 0.7)) for v in box_of(mask)],
                        "score": float(np.round(rng.random(), 2)),  # so that some are equal
                        "segmentation": encode_mask(torch.from_numpy(mask.astype(np.uint8))),
                    }
                )
    return results


def ours(data, results):
    """Return the metrics of a result file, evaluated image by image like the outputs of a detector."""
    labels = {category: label for label, category in enumerate(data.val.annotations.categories, 1)}
    metric = AveragePrecision(masks=True)
    for index, (number, size) in enumerate(images(data)):
        found = [r for r in results if r["image_id"] == number]
        boxes = torch.tensor([r["bbox"] for r in found]).reshape(-1, 4)
        masks = [decode_mask(r["segmentation"], *size)[None].float() for r in found]
        answer = {
            "boxes": box_convert(boxes, "xywh", "xyxy"),
            "labels": torch.tensor([labels[r["category_id"]] for r in found], dtype=torch.int64),
            "scores": torch.tensor([r["score"] for r in found]),
            "masks": torch.stack(masks) if masks else torch.zeros(0, 1, *size),
        }
        metric.update([answer], [data.val.target(index, *size)])
    return {name: value.item() for name, value in metric.compute().items()}


def reference(data, results):
    figures = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = Reference(str(data.val.file))
        for kind, name in (("bbox", "box"), ("segm", "mask")):
            stripped = [{k: v for k, v in r.items() if kind == "segm" or k != "segmentation"} for r in results]
            if kind == "segm":
                stripped = [{k: v for k, v in r.items() if k != "bbox"} for r in stripped]
            judge = COCOeval(truth, truth.loadRes(stripped), kind)
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
            figures |= {f"{name}_{key}": value for key, value in zip(ORDER, judge.stats, strict=True)}
    return figures


def test_figures_equal_those_of_the_reference(tmp_path):
    data = COCO(str(draw_coco(tmp_path)), batch_size=1, masks=True, num_workers=0)
    results = draw_results(data)
    expected = reference(data, results)
    assert len({round(value, 3) for value in expected.values()}) > 15  # no figure stands for another
    assert ours(data, results) == pytest.approx(expected, abs=1e-6)


def test_a_perfect_answer_is_perfect_in_spite_of_crowds(tmp_path):
    data = COCO(str(draw_coco(tmp_path)), batch_size=1, masks=True, num_workers=0)
    annotations = json.loads(data.val.file.read_text())["annotations"]
    results = [{**a, "score": 1.0} for a in annotations if not a["iscrowd"]]
    figures = ours(data, results)
    assert figures["box_ap"] == pytest.approx(1, abs=1e-6)
    assert figures["mask_ap"] == pytest.approx(1, abs=1e-6)
