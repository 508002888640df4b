"""Images with semantic masks on disk, such as CamVid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from involution.data.module import Split
from involution.data.segmentation.data_module import SegmentationDataModule
from involution.data.segmentation.masks import Pair, SegmentationEvalTransform


class SemanticMaskFolder(SegmentationDataModule):
    """`root/SPLIT/images/NAME.*` and `root/SPLIT/masks/NAME.png`, where SPLIT is train, val or test.

    If `test` is missing, `val` is used. In a mask, 0 is the first class, 1 the second, and so on.

    Args:
        root: the folder.
        classes: names of the classes, and the RGB color of each in drawn predictions, from 0 to 255.
        ignored: value of pixels without a class, or None.
        crop: height and width of training crops, in pixels of the scaled image.
        batch_size: images per step and process.
        scale: scale of the images inside the network.
        num_workers, max_corrupt_images: see `DataModule`.

    Raises:
        ValueError: a folder is missing or contains no image, or an image has no mask. Reading also raises the errors of
            `involution.data.segmentation.masks.read_mask`.
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
        max_corrupt_images: int = 0,
    ) -> None:
        eval_transform = SegmentationEvalTransform(
            values=list(range(len(classes))),
            ignored=[] if ignored is None else [ignored],
            colors=list(classes.values()),
            scale=scale,
        )
        super().__init__(list(classes), eval_transform, crop, batch_size, num_workers, max_corrupt_images)
        self.root = Path(root)

    def read_split(self, split: Split) -> list[Pair]:
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
                raise ValueError(f"mask: expected a file for every image, got no {pair.mask} for {pair.image}")
        return pairs
