"""Random images and labels of any size, without files."""

from __future__ import annotations

import torch

from involution.data.classification.data_module import ClassificationDataModule, Splits
from involution.data.classification.sources import LabelledTensors
from involution.data.transforms import ClassificationEvalTransform, padded_crop


class Synthetic(ClassificationDataModule):
    """Noise images with random labels, for testing a recipe or measuring its speed.

    Args:
        size: side of the square images, in pixels.
        num_classes: number of classes, named "class 0" and so on.
        batch_size: images per step and process.
        images: number of images in each of the three splits.
        channels: 3 for RGB, 1 for grey.
        num_workers: see `DataModule`.
    """

    def __init__(
        self,
        size: int,
        num_classes: int,
        batch_size: int,
        images: int = 64,
        channels: int = 3,
        num_workers: int | None = 0,
    ) -> None:
        eval_transform = ClassificationEvalTransform(size, size, channels)
        super().__init__(padded_crop(eval_transform, padding=1), eval_transform, batch_size, num_workers)
        self.classes = [f"class {i}" for i in range(num_classes)]
        self.images = images

    def read_splits(self) -> Splits:
        return Splits(*(self._draw(seed) for seed in range(3)))

    def _draw(self, seed: int) -> LabelledTensors:
        generator = torch.Generator().manual_seed(seed)
        shape = (self.images, self.eval_transform.channels, self.eval_transform.crop, self.eval_transform.crop)
        noise = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, len(self.classes), (self.images,), generator=generator)
        return LabelledTensors(noise, labels.numpy())
