"""Find and read image files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import pil_to_tensor

from involution.weights import check_regular

MAX_PIXELS = 2**26
"""Largest image that is decoded, 67 million pixels: a file of a few kilobytes can claim billions."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, recognized by content; formats for which Pillow starts other programs are excluded."""


class CorruptImageError(ValueError):
    """An image file exists but cannot be decoded."""


class PathArray(Sequence[str]):
    """Paths in one array.

    Worker processes share the array. A list would be copied into each worker over time, because reading an item
    changes its reference count.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._paths = np.array([os.fsencode(path) for path in paths], dtype=bytes)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            return os.fsdecode(self._paths[index].item())
        part = PathArray(())
        part._paths = self._paths[index]
        return part


def read_image(path: str | Path, channels: int = 3) -> Tensor:
    """Decode a file to uint8 [channels, H, W], rotated by its EXIF orientation; 3 channels are RGB, 1 is grey.

    Only the first frame of an animation is read. 16 bits per channel are scaled to 8. Transparency is dropped.

    Raises:
        ValueError: the file does not exist, cannot be read or has more than `MAX_PIXELS`; the message names it.
        CorruptImageError: the file cannot be decoded completely.
    """
    check_regular(path, "image")
    if Path(path).is_dir():
        raise ValueError(f"image: expected a file that can be read, got {path}, which is a folder")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            return pil_to_tensor(_eight_bits(ImageOps.exif_transpose(file)).convert("RGB" if channels == 3 else "L"))
    except FileNotFoundError:
        raise ValueError(f"image: expected a file, got {path}, which does not exist") from None
    except Image.DecompressionBombError:
        raise ValueError(f"image: expected at most {MAX_PIXELS:,} pixels, got {path} with more") from None
    except Exception as error:  # Pillow raises almost any type for a corrupt file
        if isinstance(error, OSError) and error.errno is not None:  # of the drive, not of the content
            raise ValueError(f"image: expected a file that can be read, got {path} ({error.strerror})") from None
        reason = "not a known format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise CorruptImageError(f"image: expected a file that can be decoded, got {path} ({reason})") from None


def read_values(path: str | Path, size: Sequence[int]) -> np.ndarray:
    """Decode a mask, an image with one value per pixel, grey or with a palette, to [H, W].

    Args:
        path: path of the file.
        size: expected height and width.

    Raises:
        ValueError: the file is missing, cannot be read or has another size; the message names it.
        CorruptImageError: the file cannot be decoded.
    """
    if not Path(path).is_file():
        raise ValueError(f"mask: expected a file for every image, got no {path}")
    try:
        with Image.open(path, formats=FORMATS) as file:
            shape: tuple[int, ...] = (file.height, file.width)
            if shape == tuple(size):  # any other is not decoded
                values = np.array(file)
                shape = values.shape
    except Exception as error:  # Pillow raises almost any type for a corrupt file
        if isinstance(error, OSError) and error.errno is not None:  # of the drive, not of the content
            raise ValueError(f"mask: expected a file that can be read, got {path} ({error.strerror})") from None
        raise CorruptImageError(f"mask: expected a file that can be decoded, got {path} ({error})") from None
    if shape != tuple(size):
        got = " x ".join(map(str, shape))
        raise ValueError(
            f"mask: expected one value per pixel and the size {size[0]} x {size[1]} of its image, got {path} of {got}"
        )
    return values


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits per channel to 8, which Pillow would clip at 255; expand a palette with transparency."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per channel")
    return image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Return the files in `paths`, and the sorted image files under each folder.

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
