"""The 1797 grey images of handwritten digits in scikit-learn, of 8 x 8 pixels."""

from __future__ import annotations

import torch

from involution.data.classification.data_module import ClassificationDataModule, Splits
from involution.data.classification.sources import LabelledTensors, hold_out
from involution.data.transforms import ClassificationEvalTransform, padded_crop


class Digits(ClassificationDataModule):
    """Digits 0 to 9: 1149 for training, 288 for validation, 360 for testing. No download is needed.

    Training images are shifted by up to an eighth of the side: one pixel of the original.

    Args:
        size: side of the square input of the network, in pixels; a multiple of 8.
        batch_size: images per step and process.
        num_workers: see `DataModule`; 0 is fastest for this small data set.

    >>> images, labels = next(iter(Digits(size=16, batch_size=32).val_dataloader()))
    >>> images.shape, labels.shape
    (torch.Size([32, 1, 16, 16]), torch.Size([32]))
    """

    classes = [str(digit) for digit in range(10)]  # noqa: RUF012

    def __init__(self, size: int, batch_size: int, num_workers: int | None = 0) -> None:
        if size < 8 or size % 8:
            raise ValueError(f"size: expected a multiple of 8, got {size}")
        eval_transform = ClassificationEvalTransform(resize=size, crop=size, channels=1)
        super().__init__(padded_crop(eval_transform, size // 8, flip=False), eval_transform, batch_size, num_workers)

    def read_splits(self) -> Splits:
        from sklearn.datasets import load_digits  # takes a second to import

        digits = load_digits()
        images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)[:, None]  # 17 shades of grey
        train, test = hold_out(LabelledTensors(images, digits.target), 0.2, "test")
        train, val = hold_out(train, 0.2, "val")
        return Splits(train, val, test)
