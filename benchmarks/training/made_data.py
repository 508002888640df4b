"""Made images of the real size, in the folders of ImageNet, COCO and Cityscapes, whose labels can be learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from timm.data import ImageNetInfo

from benchmarks.measuring.options import Row

FREQUENT, COPIES = 8, 400
"""Most made images of ImageNet have one of few classes; each of the others has one image."""

TRAIN, VAL = 64, 4
"""Images of the other data sets."""


def imagenet(root: Path) -> None:
    """Write 4192 training images of 500 x 375 pixels; the color tells the frequent classes apart."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(ImageNetInfo("imagenet-1k").label_names()):
        color = rng.integers(40, 215, 3)
        picture = _picture(rng, 375, 500, color)
        for split, copies in (("train", COPIES if number < FREQUENT else 1), ("val", 1)):
            (root / split / name).mkdir(parents=True)
            for copy in range(copies):
                place = root / split / name / f"{copy}.JPEG"
                if copy:
                    place.hardlink_to(root / split / name / "0.JPEG")
                else:
                    picture.save(place)


def coco(root: Path) -> None:
    """Write images of 640 x 480 pixels with three to seven rectangles each, whose color is their category."""
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (80, 3))
    categories = [{"id": number + 1, "name": f"category {number + 1}"} for number in range(80)]
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train2017", TRAIN), ("val2017", VAL)):
        (root / split).mkdir()
        images: list[Row] = []
        annotations: list[Row] = []
        for number in range(1, count + 1):
            pixels = np.array(_picture(rng, 480, 640, np.full(3, 110)))
            for _ in range(rng.integers(3, 8)):
                width, height = (int(side) for side in rng.integers(40, 240, 2))
                x, y, category = int(rng.integers(640 - width)), int(rng.integers(480 - height)), int(rng.integers(8))
                pixels[y : y + height, x : x + width] = colors[category]
                annotation = {"image_id": number, "category_id": category + 1, "iscrowd": 0, "area": width * height}
                outline = [x, y, x + width, y, x + width, y + height, x, y + height]
                place = {"id": len(annotations) + 1, "bbox": [x, y, width, height], "segmentation": [outline]}
                annotations.append({**place, **annotation})
            Image.fromarray(pixels).save(root / split / f"{number:012}.jpg")
            images.append({"id": number, "file_name": f"{number:012}.jpg", "height": 480, "width": 640})
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))


def cityscapes(root: Path) -> None:
    """Write images of 2048 x 1024 pixels in three bands: sky, buildings and road."""
    rng = np.random.default_rng(0)
    bands = [((200, 200, 255), 23), ((90, 60, 40), 11), ((128, 128, 128), 7)]  # color and identifier
    for split, count in (("train", TRAIN), ("val", VAL)):
        for number in range(count):
            name = f"town/town_{number:06}_000019"
            edges = [0, *sorted(rng.integers(200, 824, 2).tolist()), 1024]
            pixels, mask = np.empty((1024, 2048, 3), np.uint8), np.empty((1024, 2048), np.uint8)
            for (color, identifier), top, bottom in zip(bands, edges, edges[1:], strict=False):
                pixels[top:bottom], mask[top:bottom] = color, identifier
            pixels += rng.integers(0, 40, (1024, 2048, 1), dtype=np.uint8)
            image = root / f"leftImg8bit/{split}/{name}_leftImg8bit.png"
            labels = root / f"gtFine/{split}/{name}_gtFine_labelIds.png"
            for path, picture in ((image, pixels), (labels, mask)):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path, compress_level=1)


def _picture(rng: np.random.Generator, height: int, width: int, color: np.ndarray) -> Image.Image:
    """Return coarse noise around a color."""
    noise = rng.integers(-40, 41, (height // 20 + 1, width // 20 + 1, 3))
    coarse = Image.fromarray(np.clip(color + noise, 0, 255).astype(np.uint8))
    return coarse.resize((width, height), Image.Resampling.BILINEAR)


MADE = {"imagenet": imagenet, "coco": coco, "cityscapes": cityscapes}
