"""What the pages of all users share: networks, and what they made of the last images, both bounded in memory."""

from __future__ import annotations

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
from involution.explore.design import REDNETS
from involution.explore.network import Look, Network
from involution.explore.weights import load_network

LOOKS = 2**28  # bytes of kernels that are kept, some dozen images
KEPT_NETWORKS = 4
DENSE = ("faster_rcnn/rednet50/involution", "semantic_fpn/rednet50/involution")  # offered beside the classifiers
LARGEST = 1024  # pixels of the longer side of an image that is kept
IMAGE_BYTES = 2**25
"""Of an uploaded image file; its pixels are limited by `involution.data.files.MAX_PIXELS`."""

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The values that were asked for last, as many as fit; the others are made again when asked for.

    Args:
        capacity: of the sum of their sizes. The last value stays whatever its size.
        size: of a value.
    """

    def __init__(self, capacity: int, size: Callable[[Value], int]) -> None:
        self._capacity, self._size = capacity, size
        self._values: OrderedDict[object, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], Value]) -> Value:
        """Return the value of `key`. Two threads that miss it at once both make it."""
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
    """An image that somebody looks at: uint8 [3, H, W], and a key that is the same for the same pixels."""

    pixels: Tensor
    key: str


@dataclass(frozen=True)
class Source:
    """Where a network comes from: one of ours by its name, with the weights of a file or random ones."""

    name: str | None
    checkpoint: Path | None = None


class Explorer:
    """Looks of networks at images, for several users at once.

    Args:
        checkpoints: files that are offered beside our networks without training, by the name that is shown.
        images: that are offered, by the name that is shown.
    """

    def __init__(self, checkpoints: Mapping[str, Path], images: Mapping[str, Tensor]) -> None:
        untrained = {f"{name}, untrained": Source(name) for name in (*REDNETS, *DENSE)}
        self.sources = {**{name: Source(None, path) for name, path in checkpoints.items()}, **untrained}
        self.images = {name: photograph(pixels) for name, pixels in images.items()}
        self._networks: Recent[Network] = Recent(KEPT_NETWORKS, lambda network: 1)
        self._looks: Recent[Look] = Recent(LOOKS, lambda look: look.bytes)

    def network(self, source: Source) -> Network:
        """Return the network; it is read once.

        Raises:
            ValueError: of `load_network`.
        """
        try:
            return self._networks.get(source, lambda: load_network(source.name, source.checkpoint))
        except ValueError as error:
            raise ValueError(_without_folder(error, source.checkpoint)) from None

    def look(self, source: Source, image: Photograph, size: int) -> Look:
        """Show an image to a network, or recall what that gave."""
        network = self.network(source)
        return self._looks.get((source, image.key, size), lambda: network.look(image.pixels, size))


def photograph(pixels: Tensor) -> Photograph:
    """Make an image, uint8 [3, H, W], small enough to keep."""
    factor = LARGEST / max(pixels.shape[-2:])
    if factor < 1:
        pixels = transforms.resize(pixels, [max(1, round(s * factor)) for s in pixels.shape[-2:]], antialias=True)
    digest = hashlib.blake2b(pixels.contiguous().numpy().tobytes(), digest_size=16).hexdigest()
    return Photograph(pixels, f"{tuple(pixels.shape)} {digest}")


def read_photograph(path: str | Path) -> Photograph:
    """Read an image that somebody uploaded.

    Raises:
        ValueError: the file is too large or no image that can be decoded; the message does not say where it lies.
    """
    path = Path(path)
    if path.stat().st_size > IMAGE_BYTES:
        raise ValueError(f"image: expected at most {IMAGE_BYTES >> 20} MiB, got {path.stat().st_size / 2**20:.0f} MiB")
    try:
        return photograph(read_image(path))
    except ValueError as error:
        raise ValueError(_without_folder(error, path)) from None


def _without_folder(error: ValueError, path: Path | None) -> str:
    """Return what an error says; where files lie is no business of the page."""
    return str(error).replace(str(path), path.name) if path else str(error)


def samples() -> dict[str, Tensor]:
    """Return the photographs that ship with scikit-learn."""
    from sklearn.datasets import load_sample_images

    bundle = load_sample_images()
    return {
        Path(name).stem: torch.from_numpy(image.copy()).movedim(2, 0)
        for name, image in zip(bundle.filenames, bundle.images, strict=True)
    }
