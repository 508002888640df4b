"""The base of the data modules for classification."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from involution.data.batch import ClassificationBatch
from involution.data.classification.sources import LabelledSource
from involution.data.module import DataModule, Split
from involution.data.transforms import ClassificationEvalTransform


class Splits(NamedTuple):
    """The training, validation and test split of a data set."""

    train: LabelledSource
    val: LabelledSource
    test: LabelledSource


class ClassificationDataModule(DataModule):
    """Base class of the data modules for classification. Subclasses define the splits.

    See `DataModule` for the arguments.
    """

    eval_transform: ClassificationEvalTransform
    collate = staticmethod(ClassificationBatch.collate)

    def read_splits(self) -> Splits:
        """Return the images of the three splits."""
        raise NotImplementedError

    @cached_property
    def splits(self) -> Splits:
        """The three splits, cached."""
        return self.read_splits()

    def source(self, split: Split) -> LabelledSource:
        return getattr(self.splits, split)
