"""Cityscapes as torchvision reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchvision import datasets

from involution.data.segmentation.data_module import Pair, SegmentationDataModule, SegmentationEvalTransform

_CLASSES = datasets.Cityscapes.classes
_JUDGED = sorted((kind for kind in _CLASSES if kind.train_id not in (-1, 255)), key=lambda kind: kind.train_id)


class Cityscapes(SegmentationDataModule):
    """5000 street scenes of 1024 x 2048 pixels: 2975 to learn from, 500 to choose the checkpoint and to be judged by.

    Masks are the fine ones with the identifiers of all classes, of which 19 count; predictions are written with the
    same identifiers. The labels of the test images are not public, so validation serves as test, as in the paper.

    Args:
        root: holds `leftImg8bit` and `gtFine`, or the two archives of that name.
        crop: height and width of the parts to learn from, in pixels of the scaled image.
        batch_size: images per step and process.
        scale: of the images inside the network.
        num_workers: processes that load images; None is one per core, at most 8.

    Raises:
        ValueError: the folders are missing or hold no image; and on reading, those of
            `involution.data.segmentation.data_module.read_mask`.
    """

    def __init__(
        self, root: str, crop: Sequence[int], batch_size: int, scale: float = 1.0, num_workers: int | None = None
    ) -> None:
        values = [kind.id for kind in _JUDGED]
        coded = SegmentationEvalTransform(
            values=values,
            ignored=sorted({255, *(kind.id for kind in _CLASSES if kind.id >= 0)} - set(values)),
            colors=[list(kind.color) for kind in _JUDGED],
            scale=scale,
        )
        super().__init__([kind.name for kind in _JUDGED], coded, crop, batch_size, num_workers)
        self.root = root

    def read_split(self, split: str) -> list[Pair]:
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
