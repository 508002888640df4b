"""Memory usage of segmentors on an image of Cityscapes, as a whole and in windows.

Peak memory in MiB above the weights and the image, each in a separate process: one forward pass in float32, from the
image to the mask.
"""

from __future__ import annotations

import torch

from benchmarks.measuring.memory import peak_memory_mib
from benchmarks.measuring.options import Measured, Options, Row
from benchmarks.measuring.process import in_new_process
from involution.data import Cityscapes
from involution.tasks import Segmentation

SIZE, WINDOW = (1024, 2048), (512, 1024)
TINY_SIZE, TINY_WINDOW = (64, 128), (32, 64)
NETWORKS = [
    ("semantic_fpn", "resnet50", "convolution"),
    ("semantic_fpn", "rednet50", "convolution"),
    ("semantic_fpn", "rednet50", "involution"),
    ("upernet", "resnet50", "convolution"),
    ("upernet", "rednet50", "convolution"),
]


def run(options: Options) -> Measured:
    """Measure each network in both modes."""
    networks = [("semantic_fpn", "rednet26", "involution")] if options.dry_run else NETWORKS
    size, window = (TINY_SIZE, TINY_WINDOW) if options.dry_run else (SIZE, WINDOW)
    rows = []
    for network in networks:
        row: Row = {"model": "/".join(network)}
        for form, chosen in (("whole", None), ("windows", window)):
            found = (
                measure(*network, size, chosen)
                if options.dry_run
                else in_new_process(__name__, "measure", *network, size, chosen)
            )
            row[f"{form}_mib"] = round(found, 1)
        rows.append(row)
    return Measured(rows, {"size_px": size, "window_px": window, "dtype": "float32"})


def measure(segmentor: str, backbone: str, neck: str, size: tuple[int, int], window: tuple[int, int] | None) -> float:
    """Return the MiB of one network, in a fresh process."""
    data = Cityscapes("", size, batch_size=1)
    task = Segmentation(
        segmentor,
        backbone,
        data.classes,
        vars(data.eval_transform),
        auxiliary_weight=0.0,
        optimizer=torch.optim.SGD,
        schedule=None,  # type: ignore[arg-type]  # nothing is trained
        window=list(window) if window else None,
        options={"neck": neck},
    ).eval()
    image = torch.rand(3, *size)
    with torch.inference_mode():
        return peak_memory_mib(lambda: task.predict_mask(image), torch.device("cpu"))
