"""A callback that records loss, time and memory of every training step of every process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from benchmarks.measuring.memory import reset_peak, resident_mib
from involution.models.detection.heads import MaskHead


class Recorder(Callback):
    """Append a line of JSON per step to `folder/RANK.jsonl`.

    `resident_mib` is the memory after the step, with what the allocator keeps; `peak_mib` the largest during the step.
    `mask_proposals` is the number of proposals in the mask head, whose maps and gradients are in proportion to it.

    Args:
        folder: existing folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.before = Path(folder), time.monotonic()
        self.counts: dict[str, int] = {}

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        for module in task.modules():
            if isinstance(module, MaskHead):
                module.register_forward_pre_hook(self.count)

    def count(self, head: MaskHead, inputs: tuple[Tensor]) -> None:
        self.counts = {"mask_proposals": len(inputs[0])}

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        self.before = time.monotonic()

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, index: int) -> None:
        now = time.monotonic()
        row = {
            "step": trainer.global_step,
            "loss": round(float(outputs["loss"]), 4),
            "seconds": round(now - self.before, 2),
            "resident_mib": round(resident_mib("VmRSS")),
            "peak_mib": round(resident_mib("VmHWM")),
            **self.counts,
        }
        reset_peak()
        self.before = now
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
