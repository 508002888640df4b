"""Image files: finding and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import pil_to_tensor

from involution.data.batch import Query
from involution.data.transforms import Preprocessing


def read_image(path: str | Path, channels: int = 3) -> Tensor:
    """Decode a file, upright by its EXIF orientation, to uint8 [channels, H, W]; 3 channels are RGB, 1 is grey.

    Raises:
        ValueError: there is no such file, or it holds no whole image; the message names it.
    """
    try:
        with Image.open(path) as file:
            return pil_to_tensor(ImageOps.exif_transpose(file).convert("RGB" if channels == 3 else "L"))
    except FileNotFoundError:
        raise ValueError(f"image: expected a file, got {path}, which does not exist") from None
    except (
        OSError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:  # Pillow reports a broken PNG as a SyntaxError
        reason = "not a known format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ValueError(f"image: expected a file that can be decoded, got {path} ({reason})") from None


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


class ImageFiles(Dataset[Query]):
    """Files and the images in folders, preprocessed, under their paths."""

    def __init__(self, paths: Sequence[str | Path], preprocessing: Preprocessing) -> None:
        self.paths = find_images(paths)
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Query:
        path = self.paths[index]
        return Query(self.preprocessing(read_image(path, self.preprocessing.channels)), str(path))
