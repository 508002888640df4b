"""ImageNet-1k in the layout of torchvision: `root/train/WNID/*.JPEG` and `root/val/WNID/*.JPEG`."""

from __future__ import annotations

from timm.data import ImageNetInfo

from involution.data.classification.data_module import Splits
from involution.data.classification.folder import ImageFolder

_INFO = ImageNetInfo("imagenet-1k")


class ImageNet(ImageFolder):
    """ImageNet-1k as in the paper: random resized crops for training; short side 256, centre 224 for evaluation.

    The validation images are also the test images, as in all published results.

    Args:
        root: folder with `train` and `val`, each with the 1000 folders of the WordNet ids.
        batch_size: images per step and process.
        num_workers, max_corrupt_images: see `DataModule`.
        randaugment_magnitude: strength of RandAugment, 0 to 30, which the paper does not use.

    Raises:
        ValueError: a folder is missing or holds no image, or the folders are not those of the 1000 classes.
    """

    classes = _INFO.label_descriptions()  # type: ignore[assignment]  # descriptions, known without the images

    def __init__(
        self,
        root: str,
        batch_size: int,
        num_workers: int | None = None,
        max_corrupt_images: int = 0,
        randaugment_magnitude: int | None = None,
    ) -> None:
        super().__init__(
            root,
            size=224,
            resize=256,
            padding=None,
            batch_size=batch_size,
            num_workers=num_workers,
            max_corrupt_images=max_corrupt_images,
            randaugment_magnitude=randaugment_magnitude,
        )

    def read_splits(self) -> Splits:
        if not (self.root / "val").is_dir():
            raise ValueError(f"root: expected the folders train and val in {self.root}, got no val")
        if self.folders != _INFO.label_names():
            raise ValueError(
                f"root: expected the 1000 WordNet ids of ImageNet-1k in {self.root / 'train'}, "
                f"got {len(self.folders)} folders, {self.folders[0]} first"
            )
        return super().read_splits()
