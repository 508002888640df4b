"""Object detection and instance segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.ops import box_convert
from torchvision.transforms.v2.functional import to_pil_image

from involution.data import DetectionBatch, DetectionEvalTransform, PredictionBatch
from involution.data.detection.run_lengths import encode_mask
from involution.models.detection import DETECTORS
from involution.models.skeleton.weights import LATER
from involution.tasks.metrics.average_precision import THRESHOLD, AveragePrecision
from involution.tasks.pictures import CONFIDENT, draw_objects
from involution.tasks.schedule import Schedule
from involution.tasks.task import NOT_SAVED, Task

PICTURES = 4  # number of images logged per validation


class Detection(Task):
    """Object detection and instance segmentation. The metrics are COCO's average precision of boxes and masks.

    Args:
        detector: "faster_rcnn", "mask_rcnn" or "retinanet".
        network: name of the backbone in timm's registry.
        classes: names of the classes, without the background.
        eval_transform: transform for evaluation, as arguments of `involution.data.DetectionEvalTransform`.
        optimizer, schedule, channels_last, kwargs: see `Task`; `weights` are those of the backbone.
        options: further arguments of the builder in `involution.models.detection` and of the backbone, such as `neck`.
        compile: compile backbone and neck with `torch.compile`.

    Raises:
        ValueError: there is no such detector, or it does not accept an argument.
    """

    identity = ("detector", "network", "options", "classes")

    def __init__(
        self,
        detector: str,
        network: str,
        classes: list[str],
        eval_transform: dict[str, int],
        optimizer: OptimizerCallable,
        schedule: Schedule,
        options: dict[str, Any] | None = None,
        channels_last: bool = True,
        compile: bool = False,
        **kwargs: Any,
    ) -> None:
        if detector not in DETECTORS:
            raise ValueError(f"detector: expected one of {', '.join(DETECTORS)}, got {detector!r}")
        try:
            net: Any = DETECTORS[detector](network, num_classes=len(classes) + 1, weights=LATER, **options or {})
        except TypeError as error:
            raise ValueError(f"options: expected arguments of {detector}, got {options} ({error})") from None
        super().__init__(net, eval_transform["channels"], optimizer, schedule, channels_last, compile=False, **kwargs)
        if compile:
            net.backbone.compile()
        self.save_hyperparameters(ignore=NOT_SAVED)
        self.classes = classes
        self.eval_transform = DetectionEvalTransform(**eval_transform)
        self.masks = detector == "mask_rcnn"
        self.val_precision = AveragePrecision(self.masks)
        self.test_precision = AveragePrecision(self.masks)

    def initialize(self, weights: str | None) -> None:
        detector: Any = self.net
        detector.backbone.body.initialize(weights)

    def forward(self, images: Any, targets: Sequence[dict[str, Tensor]] | None = None) -> Any:
        """Return losses or detections. Images are in [0, 1]; the detector normalizes and resizes them itself."""
        return self.net(images, targets)

    def training_step(self, batch: DetectionBatch, index: int) -> Tensor:
        losses: dict[str, Tensor] = self(batch.images, batch.targets)
        loss = torch.stack(list(losses.values())).sum()
        parts = {name.removeprefix("loss_"): part for name, part in losses.items()}
        self.log_losses(loss, len(batch.images), **parts)
        return loss

    def validation_step(self, batch: DetectionBatch, index: int) -> None:
        found = self(batch.images)
        self.val_precision.update(found, batch.targets)
        if index == 0 and not self.trainer.sanity_checking:
            self._log_pictures(batch.images, found)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", self.val_precision)

    def test_step(self, batch: DetectionBatch, index: int) -> None:
        self.test_precision.update(self(batch.images), batch.targets)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test", self.test_precision)

    def predict_step(self, batch: PredictionBatch, index: int) -> list[dict[str, Any]]:
        """Return the name and the detections of each image, in descending order of score."""
        return [{"image": name, **found} for name, found in zip(batch.names, self(batch.images), strict=True)]

    def summary(self, prediction: dict[str, Any]) -> dict[str, Any]:
        """Return the objects with name, score, box (x, y, width, height in pixels) and mask (COCO's run lengths)."""
        boxes = box_convert(prediction["boxes"], "xyxy", "xywh").tolist()
        objects: list[dict[str, Any]] = [
            {"name": self.classes[label - 1], "label": label, "score": score, "box": box}
            for label, score, box in zip(
                prediction["labels"].tolist(), prediction["scores"].tolist(), boxes, strict=True
            )
        ]
        for found, mask in zip(objects, prediction.get("masks", ()), strict=False):
            found["mask"] = encode_mask(mask[0] > THRESHOLD)
        return {"image": prediction["image"], "objects": objects}

    def line(self, summary: dict[str, Any]) -> str:
        sure = [f"{o['name']} {o['score']:.0%}" for o in summary["objects"] if o["score"] >= CONFIDENT]
        return "  ".join(sure[:5]) + (f"  and {len(sure) - 5} more" if len(sure) > 5 else "") or "nothing"

    def write(self, image: Tensor, prediction: dict[str, Any], folder: Path) -> None:
        """Write the image with the detections drawn on it."""
        picture = draw_objects(image, prediction, self.classes)
        to_pil_image(picture).save(folder / f"{Path(prediction['image']).stem}.png")

    def _log_metrics(self, stage: str, precision: AveragePrecision) -> None:
        figures = precision.compute()
        precision.reset()
        self.log_dict({f"{stage}/{name}": value for name, value in figures.items()}, prog_bar=False)

    def _log_pictures(self, images: Sequence[Tensor], found: Sequence[dict[str, Tensor]]) -> None:
        """Log the first images, with the detections drawn on them, to TensorBoard."""
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                for number, (image, objects) in enumerate(list(zip(images, found, strict=True))[:PICTURES]):
                    picture = draw_objects(image, objects, self.classes)
                    logger.experiment.add_image(f"val/{number}", picture, self.global_step)
