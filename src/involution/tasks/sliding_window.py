"""Sliding-window inference for images that do not fit into memory or are larger than the training crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


def slide(network: Callable[[Tensor], Tensor], images: Tensor, window: Sequence[int]) -> Tensor:
    """Return the scores of overlapping windows. Overlapping scores are averaged.

    The stride is two thirds of the window, as in the released segmentors (513 of 769 pixels); the last windows end at
    the border of the image.

    Args:
        network: [B, C, h, w] → [B, classes, h, w].
        images: [B, C, H, W].
        window: height and width in pixels, clipped to the size of the image.

    Returns:
        [B, classes, H, W].
    """
    size = [min(part, side) for part, side in zip(window, images.shape[-2:], strict=True)]
    total = images.new_zeros(())
    times = images.new_zeros(images.shape[-2:])
    for top in _starts(images.shape[-2], size[0]):
        for left in _starts(images.shape[-1], size[1]):
            place = (..., slice(top, top + size[0]), slice(left, left + size[1]))
            scores = network(images[place])
            if not total.ndim:
                total = scores.new_zeros((*scores.shape[:2], *images.shape[-2:]))
            total[place] += scores
            times[place] += 1
    return total / times


def _starts(side: int, part: int) -> list[int]:
    steps = range(0, side - part, max(1, part * 2 // 3))
    return [*steps, side - part]
