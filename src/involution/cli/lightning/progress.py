"""Progress of a training: images per second and the time left, a bar on a terminal, otherwise at most twenty lines."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch.callbacks import Callback, TQDMProgressBar

LINES = 20


class Throughput(Callback):
    """Log `train/images_per_s`, of all processes together, and `train/left_s`, the time left of the whole run.

    The rate is over the batches since the last logged step, without validation. The time left is that of the steps of
    this run so far, with validation, times the number of steps that are left.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Any = time.monotonic) -> None:
        self.clock = clock
        self.images_per_s = self.left_s = float("nan")

    def on_train_start(self, trainer: Any, task: Any) -> None:
        self.started = self.before = self.clock()
        self.first_step = trainer.global_step
        self.images, self.seconds = 0, 0.0

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        self.before = self.clock()

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        self.before = self.clock()

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, index: int) -> None:
        now = self.clock()
        self.images += len(batch.images) * trainer.world_size
        self.seconds += now - self.before
        self.before = now
        self.images_per_s = self.images / max(self.seconds, 1e-9)
        if done := trainer.global_step - self.first_step:
            left = trainer.estimated_stepping_batches - trainer.global_step
            self.left_s = max(0.0, (now - self.started) / done * left)
        task.log_dict(
            {"train/images_per_s": self.images_per_s, "train/left_s": self.left_s}, on_step=True, on_epoch=False
        )
        if trainer._logger_connector.should_update_logs:
            self.images, self.seconds = 0, 0.0


class Progress(TQDMProgressBar):
    """Lightning's progress bar with the throughput in training, and without the number of the run."""

    def get_metrics(self, trainer: Any, task: Any) -> dict[str, Any]:
        metrics = {name: value for name, value in super().get_metrics(trainer, task).items() if name != "v_num"}
        for callback in trainer.callbacks:
            if isinstance(callback, Throughput) and trainer.training and callback.left_s == callback.left_s:
                metrics["images/s"] = f"{callback.images_per_s:.4g}"
                metrics["left"] = str(timedelta(seconds=round(callback.left_s)))
        return metrics


class EpochLines(Callback):
    """Print the metrics at the end of an epoch in a line, for log files: at most `LINES` in a training."""

    def on_train_start(self, trainer: Any, task: Any) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        done, count = trainer.current_epoch + 1, trainer.max_epochs or -1
        every = max(1, -(-count // LINES))
        if trainer.is_global_zero and (done % every == 0 or done == count):
            metrics = "".join(
                f"  {name} {value.item():.4f}"
                for name, value in sorted(trainer.callback_metrics.items())
                if "/" in name and not name.endswith(("_step", "_s"))
            )
            of = f"/{count}" if count > 0 else ""
            print(f"epoch {done}{of}{metrics}  {time.monotonic() - self.started:.0f} s", flush=True)
