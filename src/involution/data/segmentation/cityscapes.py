"""Cityscapes in the layout of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchvision import datasets

from involution.data.module import Split
from involution.data.segmentation.data_module import SegmentationDataModule
from involution.data.segmentation.masks import Pair, SegmentationEvalTransform

_CLASSES = datasets.Cityscapes.classes
_EVALUATED = sorted((kind for kind in _CLASSES if kind.train_id not in (-1, 255)), key=lambda kind: kind.train_id)


class Cityscapes(SegmentationDataModule):
    """Street scenes of 1024 x 2048 pixels, 5000 in total: 2975 for training, 500 for validation and testing.

    Masks are the fine annotations with the identifiers of all classes, of which 19 are evaluated. Predictions are
    written with the same identifiers. The labels of the test images are not public; the validation images are also the
    test images, as in the paper.

    Args:
        root: folder that contains `leftImg8bit` and `gtFine`, or the two archives of these names.
        crop: height and width of training crops, in pixels of the scaled image.
        batch_size: images per step and process.
        scale: scale of the images inside the network.
        num_workers, max_corrupt_images: see `DataModule`.

    Raises:
        ValueError: the folders are missing or contain no image. Reading also raises the errors of
            `involution.data.segmentation.masks.read_mask`.
    """

    def __init__(
        self,
        root: str,
        crop: Sequence[int],
        batch_size: int,
        scale: float = 1.0,
        num_workers: int | None = None,
        max_corrupt_images: int = 0,
    ) -> None:
        values = [kind.id for kind in _EVALUATED]
        eval_transform = SegmentationEvalTransform(
            values=values,
            ignored=sorted({255, *(kind.id for kind in _CLASSES if kind.id >= 0)} - set(values)),
            colors=[list(kind.color) for kind in _EVALUATED],
            scale=scale,
        )
        super().__init__(
            [kind.name for kind in _EVALUATED], eval_transform, crop, batch_size, num_workers, max_corrupt_images
        )
        self.root = root

    def prepare_data(self) -> None:
        """Extract the archives, if the folders do not exist: torchvision does so when it opens a split."""
        self.read_split("train")
        self.read_split("val")

    def read_split(self, split: Split) -> list[Pair]:
        try:
            found = datasets.Cityscapes(self.root, "train" if split == "train" else "val", target_type="semantic")
        except RuntimeError:
            raise ValueError(f"root: expected leftImg8bit and gtFine in {self.root}, got no such folders") from None
        pairs = sorted(
            Pair(Path(image), Path(mask)) for image, (mask,) in zip(found.images, found.targets, strict=True)
        )
        if not pairs:
            raise ValueError(f"root: expected images in {found.images_dir}, got none")
        return pairs
