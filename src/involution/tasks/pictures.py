"""Draw predictions on images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_dtype
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

CONFIDENT = 0.5
"""Least score of objects that are drawn."""

COLORS = ("#ff7f0e", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#e377c2", "#bcbd22", "#17becf")


def draw_objects(
    image: Tensor, objects: dict[str, Tensor], classes: Sequence[str], confident: float = CONFIDENT
) -> Tensor:
    """Draw boxes, masks, names and scores on an image.

    Args:
        image: [3, H, W] in [0, 1].
        objects: boxes, labels, scores and optionally masks, as returned by torchvision's detectors.
        classes: names of the classes. Label n has the name n − 1, because 0 is the background.
        confident: minimum score of the objects that are drawn.

    Returns:
        uint8 [3, H, W].
    """
    picture = to_dtype(image.cpu(), torch.uint8, scale=True)
    sure = objects["scores"] >= confident
    if not sure.any():
        return picture
    boxes, labels, scores = (objects[name][sure].cpu() for name in ("boxes", "labels", "scores"))
    colors = list(islice(cycle(COLORS), len(boxes)))
    if "masks" in objects:
        masks = objects["masks"][sure, 0].cpu() > 0.5
        # One mask per call, highest score last: in a single call, torchvision does not draw overlaps.
        for mask, color in reversed(list(zip(masks, colors, strict=True))):
            picture = draw_segmentation_masks(picture, mask, alpha=0.5, colors=color)
    names = [f"{classes[label - 1]} {score:.0%}" for label, score in zip(labels.tolist(), scores.tolist(), strict=True)]
    look = {"colors": colors, "label_colors": "black", "label_background_colors": colors}
    return draw_bounding_boxes(picture, boxes, names, fill_labels=True, width=2, **look)


def draw_classes(image: Tensor, mask: Tensor, colors: Sequence[Sequence[int]], alpha: float = 0.6) -> Tensor:
    """Blend the colors of classes with an image.

    Args:
        image: [3, H, W] in [0, 1].
        mask: [H, W], class index of every pixel.
        colors: RGB colors of the classes, from 0 to 255.
        alpha: opacity of the colors, 0 to 1.

    Returns:
        uint8 [3, H, W].
    """
    layers = torch.arange(len(colors))[:, None, None] == mask.cpu()
    picture = to_dtype(image.cpu(), torch.uint8, scale=True)
    return draw_segmentation_masks(picture, layers, alpha, [tuple(color) for color in colors])
