"""Image files: finding and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import pil_to_tensor

from involution.data.batch import PredictionBatch
from involution.data.transforms import ClassificationEvalTransform

MAX_PIXELS = 2**26
"""Of an image, 67 million: a file of a few kilobytes can claim billions."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read, by its content and not by its name; formats that start other programs are not among them."""


def read_image(path: str | Path, channels: int = 3) -> Tensor:
    """Decode a file, upright by its EXIF orientation, to uint8 [channels, H, W]; 3 channels are RGB, 1 is grey.

    Of an animation it is the first frame; 16 bits per channel become 8; transparency is dropped.

    Raises:
        ValueError: there is no such file, it holds no whole image, or one of more than `MAX_PIXELS`; the message names
            it.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            return pil_to_tensor(_eight_bits(ImageOps.exif_transpose(file)).convert("RGB" if channels == 3 else "L"))
    except FileNotFoundError:
        raise ValueError(f"image: expected a file, got {path}, which does not exist") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"image: expected at most {MAX_PIXELS:,} pixels, got {path} with more") from None
    except Exception as error:  # what a broken file makes Pillow raise is of almost any kind
        reason = "not a known format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ValueError(f"image: expected a file that can be decoded, got {path} ({reason})") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16 bits with 8, which Pillow would cut off at 255, and a palette without transparency."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per channel")
    return image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Return the files among `paths`, and for each folder the image files under it, sorted.

    Raises:
        ValueError: a path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ValueError(f"image: expected a file or a folder, got {path}, which does not exist")
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS) if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"image: expected a folder with images, got {path} with none")
        found += inside
    return found


class ImageFiles(Dataset[PredictionBatch]):
    """Files and the images in folders, preprocessed, under their paths."""

    def __init__(self, paths: Sequence[str | Path], eval_transform: ClassificationEvalTransform) -> None:
        self.paths = find_images(paths)
        self.eval_transform = eval_transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> PredictionBatch:
        path = self.paths[index]
        return PredictionBatch(self.eval_transform(read_image(path, self.eval_transform.channels)), str(path))
