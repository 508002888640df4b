"""State shared by all users of the page: networks and recent looks, both bounded in memory."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from involution.data.files import read_image
from involution.explore.network import Look, Network
from involution.explore.weights import load_network
from involution.models.recognition import REDNETS

LOOKS = 2**28  # bytes of kernels in the cache, about a dozen images
KEPT_NETWORKS = 4
DENSE = ("faster_rcnn/rednet50/involution", "semantic_fpn/rednet50/involution")  # offered beside the classifiers
PHOTOGRAPHS = Path(__file__).parent / "photographs"
LARGEST = 1024  # longer side of a stored image, in pixels
IMAGE_BYTES = 2**25
"""Largest uploaded image file; `involution.data.files.MAX_PIXELS` limits its pixels."""

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """A least-recently-used cache bounded by the total size of its values.

    Args:
        capacity: largest total size. The last value is kept whatever its size.
        size: returns the size of a value.
    """

    def __init__(self, capacity: int, size: Callable[[Value], int]) -> None:
        self._capacity, self._size = capacity, size
        self._values: OrderedDict[object, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, made on a miss. Two threads that miss at once both make it."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > 1 and sum(map(self._size, self._values.values())) > self._capacity:
                self._values.popitem(last=False)
        return value


@dataclass(frozen=True)
class Photograph:
    """An image, uint8 [3, H, W], and a key derived from its pixels."""

    pixels: Tensor
    key: str

    @property
    def is_grey(self) -> bool:
        """Whether the three channels are equal."""
        return bool((self.pixels == self.pixels[:1]).all())


@dataclass(frozen=True)
class Source:
    """A network by its name, with the weights of a checkpoint or random ones."""

    name: str | None
    checkpoint: Path | None = None


class Explorer:
    """Networks, images and cached looks, for several users at once.

    Args:
        checkpoints: files offered beside the untrained networks, by displayed name.
        images: uint8 [3, H, W], by displayed name.
    """

    def __init__(self, checkpoints: Mapping[str, Path], images: Mapping[str, Tensor]) -> None:
        untrained = {f"{name}, untrained": Source(name) for name in (*REDNETS, *DENSE)}
        self.sources = {**{name: Source(None, path) for name, path in checkpoints.items()}, **untrained}
        self.images = {name: photograph(pixels) for name, pixels in images.items()}
        self._networks: Recent[Network] = Recent(KEPT_NETWORKS, lambda network: 1)
        self._looks: Recent[Look] = Recent(LOOKS, lambda look: look.bytes)

    def network(self, source: Source) -> Network:
        """Return the network, from the cache if it is there.

        Raises:
            ValueError: see `load_network`.
        """
        try:
            return self._networks.get(source, lambda: load_network(source.name, source.checkpoint))
        except ValueError as error:
            raise ValueError(_without_folder(error, source.checkpoint)) from None

    def readable(self) -> Source:
        """Return the first source whose network can be read."""
        for source in self.sources.values():
            with contextlib.suppress(ValueError):
                self.network(source)
                return source
        raise ValueError("checkpoint: expected a network that can be read, got none")

    def fitting(self, source: Source, image: Photograph) -> Photograph:
        """Return `image`, or another sample if it is a sample with other channels, grey or color, than the network has.

        Raises:
            ValueError: see `load_network`.
        """
        if image.key not in {sample.key for sample in self.images.values()}:
            return image
        fits = self._samples(source)
        return image if not fits or image.key in {sample.key for sample in fits} else fits[0]

    def another(self, source: Source, image: Photograph) -> Photograph:
        """Return a sample that fits the network and is not `image`; `image` if there is none."""
        return next((sample for sample in self._samples(source) if sample.key != image.key), image)

    def _samples(self, source: Source) -> list[Photograph]:
        return [sample for sample in self.images.values() if sample.is_grey == (self.network(source).channels == 1)]

    def look(self, source: Source, image: Photograph, size: int) -> Look:
        """Return the look of a network at an image, from the cache if it is there."""
        network = self.network(source)
        return self._looks.get((source, image.key, size), lambda: network.look(image.pixels, size))


def photograph(pixels: Tensor) -> Photograph:
    """Resize an image, uint8 [3, H, W], to at most `LARGEST` pixels a side."""
    factor = LARGEST / max(pixels.shape[-2:])
    if factor < 1:
        pixels = transforms.resize(pixels, [max(1, round(s * factor)) for s in pixels.shape[-2:]], antialias=True)
    digest = hashlib.blake2b(pixels.contiguous().numpy().tobytes(), digest_size=16).hexdigest()
    return Photograph(pixels, f"{tuple(pixels.shape)} {digest}")


def read_photograph(path: str | Path) -> Photograph:
    """Read an uploaded image.

    Raises:
        ValueError: the file is too large or cannot be decoded. The message does not contain its folder.
    """
    path = Path(path)
    if path.stat().st_size > IMAGE_BYTES:
        raise ValueError(f"image: expected at most {IMAGE_BYTES >> 20} MiB, got {path.stat().st_size / 2**20:.0f} MiB")
    try:
        return photograph(read_image(path))
    except ValueError as error:
        raise ValueError(_without_folder(error, path)) from None


def _without_folder(error: ValueError, path: Path | None) -> str:
    """Return the message of an error without the folder of the file."""
    return str(error).replace(str(path), path.name) if path else str(error)


def samples() -> dict[str, Tensor]:
    """Return the photographs of the package and of scikit-learn, and two of scikit-learn's handwritten digits."""
    from sklearn.datasets import load_digits, load_sample_images

    ours = {path.stem: read_image(path) for path in sorted(PHOTOGRAPHS.glob("*.jpg"))}

    bundle, digits = load_sample_images(), load_digits()
    photographs = {
        Path(name).stem: torch.from_numpy(image.copy()).movedim(2, 0)
        for name, image in zip(bundle.filenames, bundle.images, strict=True)
    }
    grey = torch.from_numpy(digits.images[[3, 8]] * (255 / 16)).round().to(torch.uint8)
    drawn = {
        f"digit {label}": image.expand(3, -1, -1).contiguous()
        for label, image in zip(digits.target[[3, 8]], grey, strict=True)
    }
    return {**ours, **photographs, **drawn}
