"""The base of the data modules for semantic segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from involution.data.batch import SegmentationBatch
from involution.data.module import DataModule, Split
from involution.data.segmentation.masks import Pair, SegmentationEvalTransform, SemanticMasks
from involution.data.segmentation.train_transform import SegmentationTrainTransform


class SegmentationDataModule(DataModule):
    """Base class of the data modules for semantic segmentation. Subclasses define the files of each split.

    Args:
        classes: names of the classes.
        eval_transform: defines the encoding of the masks and the scale.
        crop: height and width of training crops, in pixels of the scaled image.
        batch_size, num_workers, max_corrupt_images: see `DataModule`.
    """

    eval_transform: SegmentationEvalTransform
    collate = staticmethod(SegmentationBatch.collate)

    def __init__(
        self,
        classes: Sequence[str],
        eval_transform: SegmentationEvalTransform,
        crop: Sequence[int],
        batch_size: int,
        num_workers: int | None,
        max_corrupt_images: int,
    ) -> None:
        train_transform = SegmentationTrainTransform(crop, eval_transform.scale)
        super().__init__(train_transform, eval_transform, batch_size, num_workers, max_corrupt_images)
        self.classes = list(classes)

    def read_split(self, split: Split) -> list[Pair]:
        """Return the images and masks of a split."""
        raise NotImplementedError

    @cached_property
    def splits(self) -> dict[str, list[Pair]]:
        """The files of the three splits, cached."""
        splits: tuple[Split, ...] = ("train", "val", "test")
        return {split: self.read_split(split) for split in splits}

    def source(self, split: Split) -> SemanticMasks:
        return SemanticMasks(self.splits[split], self.eval_transform.table)
