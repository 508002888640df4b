"""Image classification."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import timm
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

import involution.models  # noqa: F401  (registers the networks in timm)
from involution.data import ClassificationBatch, ClassificationEvalTransform, PredictionBatch
from involution.models.skeleton.options import check_options
from involution.models.skeleton.registration import entrypoint
from involution.models.skeleton.weights import load_weights
from involution.tasks.schedule import Schedule
from involution.tasks.task import NOT_SAVED, Task


class Classification(Task):
    """Image classification with cross-entropy loss. The metrics are top-1 and top-5 accuracy.

    Args:
        network: name of the network in timm's registry.
        classes: names of the classes, one per output of the network.
        eval_transform: transform of images for validation, test and prediction, as arguments of
            `involution.data.ClassificationEvalTransform`.
        label_smoothing: fraction of the target that is distributed over all classes; Szegedy et al., "Rethinking the
            Inception architecture", CVPR 2016, section 7.
        optimizer, schedule, channels_last, compile, kwargs: see `Task`.
        mixup_alpha, cutmix_alpha: parameter of the beta distribution from which mixup (Zhang et al., 2018) and cutmix
            (Yun et al., 2019) draw the share of the second image; 0 for none. With both, each batch takes one of them.
        options: further arguments of the network, such as `stem_kernel_size`. The data set determines the numbers of
            input channels and outputs.

    Raises:
        ValueError: timm has no such network, or the network does not accept an option.
    """

    identity = ("network", "options", "classes")

    def __init__(
        self,
        network: str,
        classes: list[str],
        eval_transform: dict[str, Any],
        label_smoothing: float,
        optimizer: OptimizerCallable,
        schedule: Schedule,
        options: dict[str, Any] | None = None,
        channels_last: bool = True,
        compile: bool = False,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing: expected 0 to 1, got {label_smoothing}")
        channels = eval_transform["channels"]
        model = create_network(network, len(classes), channels, options or {})
        super().__init__(model, channels, optimizer, schedule, channels_last, compile, **kwargs)
        self.save_hyperparameters(ignore=NOT_SAVED)
        self.classes = classes
        self.eval_transform = ClassificationEvalTransform(**eval_transform)
        self.label_smoothing = label_smoothing
        self.mix = mixing(mixup_alpha, cutmix_alpha, len(classes))
        accuracy: dict[str, Metric | MetricCollection] = {
            f"top{k}": _accuracy(k, len(classes)) for k in (1, 5) if k < len(classes)
        }
        self.val_accuracy = MetricCollection(accuracy, prefix="val/")
        self.test_accuracy = self.val_accuracy.clone(prefix="test/")
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy=math.nan) for _ in range(2))  # NaN stays NaN

    def initialize(self, weights: str | None) -> None:
        if weights is not None:
            inputs = {"num_classes": len(self.classes), "in_chans": self.eval_transform.channels}
            load_weights(self.net, self.hparams["network"], weights, **inputs, **self.hparams["options"] or {})

    def training_step(self, batch: ClassificationBatch, index: int) -> Tensor:
        images, labels = batch if self.mix is None else self.mix(*batch)
        loss = F.cross_entropy(self(images), labels, label_smoothing=self.label_smoothing)
        self.log_losses(loss, len(batch.labels))
        return loss

    def validation_step(self, batch: ClassificationBatch, index: int) -> None:
        self._evaluate(batch, "val", self.val_accuracy, self.val_loss)

    def test_step(self, batch: ClassificationBatch, index: int) -> None:
        self._evaluate(batch, "test", self.test_accuracy, self.test_loss)

    def predict_step(self, batch: PredictionBatch, index: int) -> list[dict[str, Any]]:
        """Return the name and the most probable classes of each image, in descending order of probability."""
        top = self(batch.images).softmax(1).topk(min(5, len(self.classes)))
        return [
            {
                "image": name,
                "classes": [
                    {"name": self.classes[label], "probability": p} for p, label in zip(values, labels, strict=True)
                ],
            }
            for name, values, labels in zip(batch.names, top.values.tolist(), top.indices.tolist(), strict=True)
        ]

    def line(self, summary: dict[str, Any]) -> str:
        return "  ".join(f"{c['name']} {c['probability']:.1%}" for c in summary["classes"][:3])

    def _evaluate(self, batch: ClassificationBatch, stage: str, accuracy: MetricCollection, loss: MeanMetric) -> None:
        logits = self(batch.images)
        accuracy.update(logits, batch.labels)
        # A metric, because Lightning's own mean is wrong if the processes have different numbers of images.
        loss.update(F.cross_entropy(logits, batch.labels), len(batch.labels))
        self.log(f"{stage}/loss", loss, batch_size=len(batch.labels))
        self.log_dict(accuracy, prog_bar=True, batch_size=len(batch.labels))


def create_network(name: str, num_classes: int, in_chans: int, options: dict[str, Any]) -> nn.Module:
    """Create a network of timm's registry. Errors name the argument."""
    entrypoint(name, "network")
    check_options(options)
    try:
        return timm.create_model(name, num_classes=num_classes, in_chans=in_chans, **options)
    except TypeError as error:
        raise ValueError(f"options: expected arguments of {name}, got {options} ({error})") from None


def mixing(mixup_alpha: float, cutmix_alpha: float, num_classes: int) -> Callable[..., tuple[Tensor, Tensor]] | None:
    """Return a function that mixes a batch of images and its labels, which become probabilities; None for none.

    torchvision's functions draw from torch's random numbers, so that a resumed run draws the same as an uninterrupted
    one. Those of timm draw from NumPy's.
    """
    for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
        if not alpha >= 0:
            raise ValueError(f"{name}: expected at least 0, got {alpha}")
    kinds = ((v2.MixUp, mixup_alpha), (v2.CutMix, cutmix_alpha))
    chosen = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha]
    return v2.RandomChoice(chosen) if chosen else None


def _accuracy(k: int, classes: int) -> MulticlassAccuracy:
    return MulticlassAccuracy(classes, top_k=k, average="micro")
