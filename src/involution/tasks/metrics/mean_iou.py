"""Mean intersection over union of predicted masks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from involution.data import IGNORE_INDEX


class MeanIoU(MulticlassConfusionMatrix):
    """Intersection over union of each class over all pixels of a data set, its mean, and the pixel accuracy.

        IoU(c) = n(c, c) / (Σ n(c, ·) + Σ n(·, c) − n(c, c)),       with n(true class, predicted class)

    Everingham et al., "The PASCAL visual object classes challenge", IJCV 2015. Ignored pixels are excluded, whatever
    the prediction. A class that is neither present nor predicted has no IoU and is excluded from the mean.

    Args:
        classes: names of the classes.

    >>> import torch
    >>> metric = MeanIoU(["road", "car"])
    >>> metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    >>> {name: value.item() for name, value in metric.compute().items()}
    {'miou': 0.5, 'accuracy': 0.6666666666666666, 'iou/road': 0.5, 'iou/car': 0.5}
    """

    def __init__(self, classes: Sequence[str]) -> None:
        # The data set has already checked the values; a second check would take as long as the metric.
        super().__init__(len(classes), ignore_index=IGNORE_INDEX, validate_args=False)
        self.classes = classes

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Return `miou`, `accuracy` and `iou/NAME`, from 0 to 1 in float64; an empty dict if no pixel has a class."""
        counts = self.confmat.cpu().double()  # some devices have no float64
        correct = counts.diag()
        union = counts.sum(0) + counts.sum(1) - correct
        present = union > 0
        if not present.any():
            return {}
        iou = correct[present] / union[present]
        names = [name for name, there in zip(self.classes, present.tolist(), strict=True) if there]
        figures = {"miou": iou.mean(), "accuracy": correct.sum() / counts.sum()}
        return figures | {f"iou/{name}": value for name, value in zip(names, iou, strict=True)}
