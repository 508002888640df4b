"""A task with a tiny network."""

from functools import partial

import torch

from involution.tasks import Classification, CosinePerEpoch

CLASSES = ["ant", "bee", "cow", "dog", "elk", "fox"]
TINY = "test_resnet"  # of timm, a few thousand parameters


def classification(network=TINY, **kwargs):
    arguments = {
        "classes": CLASSES,
        "eval_transform": {"resize": 8, "crop": 8, "channels": 3},
        "label_smoothing": 0.1,
        "optimizer": partial(torch.optim.SGD, lr=0.4),
        "schedule": CosinePerEpoch(warmup_epochs=2, warmup_factor=0.25),
        **kwargs,
    }
    return Classification(network, **arguments)
