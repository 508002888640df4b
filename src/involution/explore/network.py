"""A network whose generated kernels can be inspected."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms.v2 import functional as transforms

from involution.visualize import Generated, capture

ASPECT = 4
"""Largest ratio of sides at full size; longer images are resized to at most `size`·`size`·`ASPECT` pixels."""


@dataclass(frozen=True)
class Look:
    """The kernels and predictions of a network for one image.

    Args:
        image: [C, H, W] in [0, 1], the input of the network before normalization.
        layers: kernels of each involution, in the order of application.
        classes: (name, probability), the most probable first; empty for an untrained network.
    """

    image: Tensor
    layers: dict[str, Generated]
    classes: list[tuple[str, float]]

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.image.nbytes + sum(generated.kernel.nbytes for generated in self.layers.values())


class Network:
    """A network with its preprocessing and the names of its classes.

    Args:
        model: takes normalized images [1, C, H, W].
        size: short side of the resized images, in pixels.
        mean, std: per channel, for images in [0, 1].
        classes: names of the outputs; empty for an untrained network.
    """

    def __init__(
        self, model: nn.Module, size: int, mean: Sequence[float], std: Sequence[float], classes: Sequence[str] = ()
    ) -> None:
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.size = size
        self.classes = list(classes)
        self.mean, self.std = (torch.tensor(values).reshape(-1, 1, 1) for values in (mean, std))
        self._one_at_a_time = threading.Lock()  # concurrent hooks of `capture` would mix images

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for grey."""
        return len(self.mean)

    def look(self, image: Tensor, size: int | None = None) -> Look:
        """Apply the network to a whole image and keep the generated kernels.

        Args:
            image: uint8 [3, H, W].
            size: short side of the resized image, in pixels; by default that of the network.

        >>> from involution import Involution2d
        >>> network = Network(Involution2d(3, group_channels=3, reduction_ratio=None), 8, [0, 0, 0], [1, 1, 1])
        >>> look = network.look(torch.zeros(3, 30, 40, dtype=torch.uint8))
        >>> look.image.shape, look.layers[""].kernel.shape
        (torch.Size([3, 8, 11]), torch.Size([1, 1, 7, 7, 8, 11]))
        """
        seen = self._resize(image, size or self.size)
        if self.channels == 1:
            seen = transforms.rgb_to_grayscale(seen)
        seen = transforms.to_dtype(seen, torch.float32, scale=True)
        batch = ((seen - self.mean) / self.std)[None].contiguous(memory_format=torch.channels_last)
        with self._one_at_a_time:
            for resizing in (m for m in self.model.modules() if isinstance(m, GeneralizedRCNNTransform)):
                resizing.min_size, resizing.max_size = (min(seen.shape[-2:]),), max(seen.shape[-2:])  # without resizing
            layers, output = capture(self.model, batch)
        return Look(seen, layers, self._name(output))

    def _resize(self, image: Tensor, size: int) -> Tensor:
        short, long = sorted(image.shape[-2:])
        scale = min(size / short, ASPECT * size / long)
        return transforms.resize(image, [max(1, round(side * scale)) for side in image.shape[-2:]], antialias=True)

    def _name(self, output: object) -> list[tuple[str, float]]:
        if not self.classes or not isinstance(output, Tensor):
            return []
        top = output[0].float().softmax(0).topk(min(5, len(self.classes)))
        return [(self.classes[i], p) for p, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)]
