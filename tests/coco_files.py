"""Synthetic COCO files: images of ellipses with annotations."""

import json

import numpy as np
import torch
from PIL import Image

from involution.data.detection.run_lengths import encode_mask

CATEGORIES = [{"id": number, "name": name} for number, name in ((3, "car"), (90, "toothbrush"), (17, "cat"))]


def ellipse(rng, height, width):
    """Draw a mask whose size is uniform over COCO's three ranges."""
    radius = np.exp(rng.uniform(np.log(4), np.log(70), 2))
    centre = rng.uniform(0, 1, 2) * (height, width)
    y, x = np.mgrid[:height, :width]
    return ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 <= 1


def box_of(mask):
    y, x = np.nonzero(mask)
    return [float(v) for v in (x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min())]


def draw_coco(root, split="val2017", images=24, seed=0):
    """Write COCO files with crowds, an image without objects and polygons; return their paths."""
    rng = np.random.default_rng(seed)
    listed, annotations = [], []
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    for number in rng.permutation(range(1, images + 1)).tolist():
        height, width = rng.integers(90, 160, 2).tolist()
        name = f"{number:012}.png"
        pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        listed.append({"id": number, "file_name": name, "height": height, "width": width})
        for _ in range(0 if number == 5 else rng.integers(1, 7)):
            mask = ellipse(rng, height, width)
            if not mask.any():
                continue
            box, crowd, category = box_of(mask), int(rng.random() < 0.1), int(rng.choice([3, 17, 90]))
            pixels[mask] += np.uint8(category + 60)
            x, y, w, h = box
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            polygon = not crowd and rng.random() < 0.3
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": box,
                    "area": float(mask.sum()) * (0.9 if polygon else 1),  # COCO's is not always that of the mask
                    "iscrowd": crowd,
                    "segmentation": [outline] if polygon else encode_mask(torch.from_numpy(mask)),
                }
            )
        Image.fromarray(pixels).save(root / split / name)
    content = {"images": listed, "annotations": annotations, "categories": CATEGORIES}
    (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return root
