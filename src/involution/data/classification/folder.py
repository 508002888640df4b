"""Images on disk, one folder per class."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from involution.data.classification.data_module import ClassificationDataModule, Splits
from involution.data.classification.sources import LabelledFiles, hold_out
from involution.data.transforms import ClassificationEvalTransform, padded_crop, random_resized_crop


class ImageFolder(ClassificationDataModule):
    """One folder per class, with or without folders for the splits.

    With `root/train/CLASS/…`, the splits are `root/train`, `root/val` and `root/test`. If `val` is missing, it is held
    out from `train`; if `test` is missing, `val` is used. With `root/CLASS/…`, both are held out. The same images are
    held out in every run.

    Args:
        root: the folder.
        size: side of the square input of the network, in pixels.
        resize: length of the short side for evaluation, before the centre is cropped, in pixels.
        padding: largest shift of training images in pixels, for small images. None uses random resized crops, for
            photographs.
        batch_size: images per step and process.
        val_fraction, test_fraction: fraction of the images of every class that is held out if the split is missing.
        channels: 3 for RGB, 1 for grey; files are converted.
        num_workers, max_corrupt_images: see `DataModule`.
        randaugment_magnitude: see `random_resized_crop`; without effect on padded images.

    Raises:
        ValueError: a folder is missing or holds no image, or the splits have different classes.
    """

    def __init__(
        self,
        root: str,
        size: int,
        resize: int,
        padding: int | None,
        batch_size: int,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        channels: int = 3,
        num_workers: int | None = None,
        max_corrupt_images: int = 0,
        randaugment_magnitude: int | None = None,
    ) -> None:
        eval_transform = ClassificationEvalTransform(resize, size, channels)
        if padding is None:
            train_transform = random_resized_crop(size, randaugment_magnitude)
        else:
            train_transform = padded_crop(eval_transform, padding)
        super().__init__(train_transform, eval_transform, batch_size, num_workers, max_corrupt_images)
        self.root = Path(root)
        self.val_fraction, self.test_fraction = val_fraction, test_fraction

    @cached_property
    def folders(self) -> list[str]:
        """Names of the class folders, sorted: the order of the labels."""
        return _folders(self._train_root)

    @property
    def classes(self) -> list[str]:  # type: ignore[override]
        """Names of the classes, in the order of the labels."""
        return self.folders

    @property
    def _train_root(self) -> Path:
        split = self.root / "train"
        return split if split.is_dir() else self.root

    def read_splits(self) -> Splits:
        train = self._scan(self._train_root)
        if self._train_root == self.root:
            train, test = hold_out(train, self.test_fraction, "test_fraction")
            train, val = hold_out(train, self.val_fraction, "val_fraction")
            return Splits(train, val, test)
        if (self.root / "val").is_dir():
            val = self._scan(self.root / "val")
        else:
            train, val = hold_out(train, self.val_fraction, "val_fraction")
        return Splits(train, val, self._scan(self.root / "test") if (self.root / "test").is_dir() else val)

    def _scan(self, folder: Path) -> LabelledFiles:
        names = _folders(folder)
        if different := sorted(set(names) ^ set(self.folders)):
            raise ValueError(f"root: expected the classes of {self._train_root} in {folder}, got different {different}")
        index = {name: i for i, name in enumerate(names)}
        found = make_dataset(folder, index, extensions=IMG_EXTENSIONS, allow_empty=True)
        if empty := sorted(set(range(len(names))) - {label for _, label in found}):
            raise ValueError(f"root: expected an image in every class folder, got none in {folder / names[empty[0]]}")
        paths, labels = zip(*found, strict=True)
        return LabelledFiles(paths, labels, self.eval_transform.channels)


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise ValueError(f"root: expected a folder, got {folder}, which is not a folder")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise ValueError(f"root: expected a folder per class, got {folder} without folders")
    return names
