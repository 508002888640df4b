"""Any images on disk with a mask each, as in CamVid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from involution.data.segmentation.data_module import Pair, SegmentationDataModule, SegmentationEvalTransform


class SemanticMaskFolder(SegmentationDataModule):
    """`root/SPLIT/images/NAME.*` and `root/SPLIT/masks/NAME.png`, the split being train, val or test.

    A missing `test` is `val`. In a mask, 0 is the first class, 1 the second, and so on.

    Args:
        root: the folder.
        classes: names, and the colour that each has in pictures, RGB from 0 to 255.
        ignored: value in the masks of pixels without a class, if there are any; it is none of the classes'.
        crop: height and width of the parts to learn from, in pixels of the scaled image.
        batch_size: images per step and process.
        scale: of the images inside the network.
        num_workers: processes that load images; None is one per core, at most 8.

    Raises:
        ValueError: a folder is missing or holds no image, or an image has no mask; and on reading, the errors of
            `involution.data.segmentation.data_module.read_mask`.
    """

    def __init__(
        self,
        root: str,
        classes: dict[str, list[int]],
        ignored: int | None,
        crop: Sequence[int],
        batch_size: int,
        scale: float = 1.0,
        num_workers: int | None = None,
    ) -> None:
        coded = SegmentationEvalTransform(
            values=list(range(len(classes))),
            ignored=[] if ignored is None else [ignored],
            colors=list(classes.values()),
            scale=scale,
        )
        super().__init__(list(classes), coded, crop, batch_size, num_workers)
        self.root = Path(root)

    def read_split(self, split: str) -> list[Pair]:
        folder = self.root / split
        if split == "test" and not folder.is_dir():
            folder = self.root / "val"
        for part in ("images", "masks"):
            if not (folder / part).is_dir():
                raise ValueError(f"root: expected a folder {folder / part}, got none")
        images = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMG_EXTENSIONS)
        if not images:
            raise ValueError(f"root: expected images in {folder / 'images'}, got none")
        pairs = [Pair(image, folder / "masks" / f"{image.stem}.png") for image in images]
        for pair in pairs:
            if not pair.mask.is_file():
                raise ValueError(f"mask: expected {pair.mask} for image {pair.image}, which does not exist")
        return pairs
