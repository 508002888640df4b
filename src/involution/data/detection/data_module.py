"""The base of the data modules for detection."""

from __future__ import annotations

from dataclasses import dataclass

from involution.data.batch import DetectionBatch
from involution.data.detection.train_transform import Augmentation, DetectionTrainTransform
from involution.data.module import DataModule
from involution.data.transforms import EvalTransform


@dataclass(frozen=True)
class DetectionEvalTransform(EvalTransform):
    """Return the image unchanged; detectors resize images themselves."""

    channels: int = 3


class DetectionDataModule(DataModule):
    """Base class of the data modules for detection.

    Args:
        augmentation: see `DetectionTrainTransform`.
        batch_size, num_workers, max_corrupt_images: see `DataModule`.
    """

    collate = staticmethod(DetectionBatch.collate)

    def __init__(
        self, augmentation: Augmentation, batch_size: int, num_workers: int | None, max_corrupt_images: int
    ) -> None:
        train_transform = DetectionTrainTransform(augmentation)
        super().__init__(train_transform, DetectionEvalTransform(), batch_size, num_workers, max_corrupt_images)
