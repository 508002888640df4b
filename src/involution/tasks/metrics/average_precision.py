"""COCO's twelve metrics, for boxes and for masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

FIGURES = {
    "map": "ap",
    "map_50": "ap50",
    "map_75": "ap75",
    "map_small": "ap_small",
    "map_medium": "ap_medium",
    "map_large": "ap_large",
    "mar_1": "ar1",
    "mar_10": "ar10",
    "mar_100": "ar100",
    "mar_small": "ar_small",
    "mar_medium": "ar_medium",
    "mar_large": "ar_large",
}
"""torchmetrics' names and ours. AP is over IoU 0.5 to 0.95 unless a number says which; AR over 1, 10 or 100 objects."""

THRESHOLD = 0.5  # threshold on the probability of a mask


class AveragePrecision(MeanAveragePrecision):
    """Average precision and recall of detections, computed by COCO's own code.

    Args:
        masks: evaluate masks in addition to boxes.

    >>> import torch
    >>> metric = AveragePrecision(masks=False)
    >>> objects = {"boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]), "labels": torch.tensor([1])}
    >>> metric.update([{**objects, "scores": torch.tensor([0.7])}], [objects])
    >>> float(metric.compute()["box_ap50"])
    1.0
    """

    def __init__(self, masks: bool) -> None:
        super().__init__(
            iou_type=("bbox", "segm") if masks else "bbox",
            # torchmetrics computes the thresholds in float32, in which a recall of 0.2 is below its threshold.
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0.0, 1.0, 101).tolist(),
            backend="pycocotools",
        )
        self.warn_on_many_detections = False  # if there are more than 100, COCO evaluates those with the highest scores

    def update(self, found: Sequence[dict[str, Tensor]], targets: Sequence[dict[str, Tensor]]) -> None:
        """Add a batch of detections, as returned by torchvision's detectors, and targets."""
        masks = "segm" in self.iou_type
        binary = [{**f, "masks": f["masks"][:, 0] > THRESHOLD} if masks else f for f in found]
        truth = [{**t, "masks": t["masks"].bool()} if masks else t for t in targets]
        super().update(binary, truth)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics as `box_ap`, `box_ap50`, … and `mask_ap`, …, from 0 to 1, or −1 without such objects."""
        figures = super().compute()
        kinds = {"bbox_": "box", "segm_": "mask"} if "segm" in self.iou_type else {"": "box"}
        return {
            f"{ours}_{name}": figures[theirs + key] for theirs, ours in kinds.items() for key, name in FIGURES.items()
        }
