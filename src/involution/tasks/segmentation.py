"""Semantic segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchvision.transforms.v2.functional import to_pil_image

from involution.data import IGNORE_INDEX, PredictionBatch, SegmentationBatch, SegmentationEvalTransform
from involution.models.segmentation import SEGMENTORS
from involution.models.segmentation.segmentors import synchronize_norms
from involution.models.skeleton.weights import LATER
from involution.tasks.metrics.mean_iou import MeanIoU
from involution.tasks.pictures import draw_classes
from involution.tasks.schedule import Schedule
from involution.tasks.sliding_window import slide
from involution.tasks.task import NOT_SAVED, Task

PICTURES = 4  # number of images logged per validation


class Segmentation(Task):
    """Semantic segmentation with cross-entropy loss. The main metric is the mean intersection over union.

    Args:
        segmentor: "semantic_fpn" or "upernet".
        network: name of the backbone in timm's registry.
        classes: names of the classes.
        eval_transform: encoding of the classes, as arguments of `involution.data.SegmentationEvalTransform`.
        auxiliary_weight: weight of the loss of the auxiliary head, if there is one.
        optimizer, schedule, channels_last, compile, kwargs: see `Task`; `weights` are those of the backbone.
        window: height and width of the windows for inference, in pixels of the scaled image; None uses
            whole images.
        synchronize: synchronize batch norms across processes, except those of involutions, as in the released
            segmentors. `sync_batchnorm` of Lightning's trainer would synchronize all of them.
        options: further arguments of the builder in `involution.models.segmentation` and of the backbone, such as
            `neck`.

    Raises:
        ValueError: there is no such segmentor, or it does not accept an argument.
    """

    identity = ("segmentor", "network", "options", "classes")

    def __init__(
        self,
        segmentor: str,
        network: str,
        classes: list[str],
        eval_transform: dict[str, Any],
        auxiliary_weight: float,
        optimizer: OptimizerCallable,
        schedule: Schedule,
        window: list[int] | None = None,
        synchronize: bool = False,
        options: dict[str, Any] | None = None,
        channels_last: bool = True,
        compile: bool = False,
        **kwargs: Any,
    ) -> None:
        if segmentor not in SEGMENTORS:
            raise ValueError(f"segmentor: expected one of {', '.join(SEGMENTORS)}, got {segmentor!r}")
        if window is not None and (len(window) != 2 or min(window) < 1):
            raise ValueError(f"window: expected height and width in pixels or null, got {window}")
        try:
            net = SEGMENTORS[segmentor](network, num_classes=len(classes), weights=LATER, **options or {})
        except TypeError as error:
            raise ValueError(f"options: expected arguments of {segmentor}, got {options} ({error})") from None
        self.eval_transform = SegmentationEvalTransform(**eval_transform)
        super().__init__(net, self.eval_transform.channels, optimizer, schedule, channels_last, compile, **kwargs)
        self.save_hyperparameters(ignore=NOT_SAVED)
        self.synchronize = synchronize
        self.classes, self.window, self.auxiliary_weight = classes, window, auxiliary_weight
        self.val_iou = MeanIoU(classes)
        self.test_iou = MeanIoU(classes)
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy=math.nan) for _ in range(2))  # NaN stays NaN

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.synchronize and self.trainer.world_size > 1:
            if self.trainer.strategy.root_device.type == "cpu":
                rank_zero_warn("synchronize: batch norms are not synchronized, because PyTorch cannot do that on CPUs")
            else:
                synchronize_norms(self.net)

    def initialize(self, weights: str | None) -> None:
        segmentor: Any = self.net
        segmentor.backbone.initialize(weights)

    def training_step(self, batch: SegmentationBatch, index: int) -> Tensor:
        masks = torch.stack(batch.masks)
        scores = self(torch.stack(batch.images))
        loss = pixel_loss(scores["out"], masks)
        if "aux" in scores:
            loss = loss + self.auxiliary_weight * pixel_loss(scores["aux"], masks)
        self.log_losses(loss, len(masks))
        # Crops with only ignored pixels do not contribute to the loss; log their number.
        empty = (masks == IGNORE_INDEX).flatten(1).all(1).sum().float()
        self.log("train/empty_crops", empty, on_step=False, on_epoch=True, reduce_fx="sum", sync_dist=True)
        return loss

    def validation_step(self, batch: SegmentationBatch, index: int) -> None:
        self._evaluate(batch, "val", self.val_iou, self.val_loss)
        if index == 0:
            self._log_pictures(batch.images)

    def test_step(self, batch: SegmentationBatch, index: int) -> None:
        self._evaluate(batch, "test", self.test_iou, self.test_loss)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", self.val_iou)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test", self.test_iou)

    def predict_step(self, batch: PredictionBatch, index: int) -> list[dict[str, Any]]:
        """Return the name of each image and the class index of every pixel, uint8 [H, W]."""
        return [
            {"image": name, "mask": self.predict_mask(image)}
            for name, image in zip(batch.names, batch.images, strict=True)
        ]

    def summary(self, prediction: dict[str, Any]) -> dict[str, Any]:
        """Return the fraction of the pixels of each class, in descending order."""
        counts = prediction["mask"].flatten().long().bincount(minlength=len(self.classes))
        shares = sorted(zip((counts / counts.sum()).tolist(), self.classes, strict=True), reverse=True)
        return {
            "image": prediction["image"],
            "classes": [{"name": name, "share": part} for part, name in shares if part],
        }

    def line(self, summary: dict[str, Any]) -> str:
        return "  ".join(f"{c['name']} {c['share']:.1%}" for c in summary["classes"][:5])

    def write(self, image: Tensor, prediction: dict[str, Any], folder: Path) -> None:
        """Write the mask with the values of the data set, and the image blended with the colored mask."""
        name, mask = Path(prediction["image"]).stem, prediction["mask"].cpu()
        values = torch.tensor(self.eval_transform.values, dtype=torch.uint8)[mask.long()]
        to_pil_image(values).save(folder / f"{name}_mask.png")
        to_pil_image(draw_classes(image, mask, self.eval_transform.colors)).save(folder / f"{name}.png")

    def scores(self, images: Tensor) -> Tensor:
        """Return the score of every class at every pixel: [B, 3, H, W] in [0, 1] → [B, classes, H, W]."""
        size = images.shape[-2:]
        x = _resize(self.normalize(images), [max(1, round(side * self.eval_transform.scale)) for side in size])
        y = self._out(x) if self.window is None else slide(self._out, x, self.window)
        return _resize(y, size)

    def predict_mask(self, image: Tensor) -> Tensor:
        """Return the index of the class with the highest score: [3, H, W] in [0, 1] → uint8 [H, W]."""
        return self.scores(image[None])[0].argmax(0).to(torch.uint8)

    def _out(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)["out"]
        return y

    def _evaluate(self, batch: SegmentationBatch, stage: str, iou: MeanIoU, loss: MeanMetric) -> None:
        # One image at a time: sizes differ, and a whole image of Cityscapes takes gigabytes.
        for image, mask in zip(batch.images, batch.masks, strict=True):
            scores = self.scores(image[None])
            loss.update(pixel_loss(scores, mask[None]))
            iou.update(scores.argmax(1), mask[None])
        # A metric, because Lightning's own mean is wrong if the processes have different numbers of images.
        self.log(f"{stage}/loss", loss, batch_size=len(batch.images))

    def _log_metrics(self, stage: str, iou: MeanIoU) -> None:
        figures = iou.compute()
        iou.reset()
        self.log_dict({f"{stage}/{name}": value for name, value in figures.items()})

    def _log_pictures(self, images: Sequence[Tensor]) -> None:
        """Log the first images with their predicted classes to TensorBoard."""
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                for number, image in enumerate(images[:PICTURES]):
                    picture = draw_classes(image, self.predict_mask(image), self.eval_transform.colors)
                    logger.experiment.add_image(f"val/{number}", picture, self.global_step)


def pixel_loss(scores: Tensor, masks: Tensor) -> Tensor:
    """Return the mean cross-entropy over all pixels with a class; 0 with zero gradient if there are none.

    Args:
        scores: [B, classes, H, W].
        masks: [B, H, W], int64, `IGNORE_INDEX` for pixels without a class.
    """
    total = F.cross_entropy(scores.float(), masks, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (masks != IGNORE_INDEX).sum().clamp(min=1)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return x if x.shape[-2:] == tuple(size) else F.interpolate(x, size, mode="bilinear", align_corners=False)
