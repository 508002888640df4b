"""Measure the memory that segmentors take to name every pixel of an image of Cityscapes, whole and in windows.

    python benchmarks/segmentation_memory.py

Writes results/measured/segmentation-memory-cpu.json: MiB at the peak above the weights and the image, each in a process
of its own, one forward pass in float32, from the image to the mask.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from measure import ROOT, machine, peak_memory, write
from segmentation_tables import MEMORY

from involution.data import Cityscapes
from involution.tasks import Segmentation

SIZE = (1024, 2048)
WINDOW = (512, 1024)
NETWORKS = [
    ("semantic_fpn", "resnet50", "convolution"),
    ("semantic_fpn", "rednet50", "convolution"),
    ("semantic_fpn", "rednet50", "involution"),
    ("upernet", "resnet50", "convolution"),
    ("upernet", "rednet50", "convolution"),
]


def main() -> None:
    """Measure and write."""
    rows = []
    for network in NETWORKS:
        row = {"model": "/".join(network)}
        for form in ("whole", "windows"):
            script = f"import segmentation_memory; segmentation_memory.show({network!r}, {form == 'windows'})"
            answer = subprocess.run(
                [sys.executable, "-c", script], cwd=Path(__file__).parent, check=True, stdout=subprocess.PIPE, text=True
            )
            row[f"{form}_mib"] = round(float(answer.stdout.split()[-1]))
        rows.append(row)
        print(row)
    write(ROOT / MEMORY, {**machine(torch.device("cpu")), "size": SIZE, "window": WINDOW, "rows": rows})


def show(network: tuple[str, str, str], windows: bool) -> None:
    """Print what one network takes, in a process that has done nothing else."""
    segmentor, backbone, neck = network
    data = Cityscapes("", SIZE, batch_size=1)
    task = Segmentation(
        segmentor,
        backbone,
        data.classes,
        vars(data.eval_transform),
        auxiliary_weight=0.0,
        optimizer=torch.optim.SGD,
        schedule=None,
        window=list(WINDOW) if windows else None,
        options={"neck": neck},
    ).eval()
    image = torch.rand(3, *SIZE)
    with torch.inference_mode():
        print(peak_memory(lambda: task.name_pixels(image), torch.device("cpu")))


if __name__ == "__main__":
    main()
