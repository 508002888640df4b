"""Train one network. A run that was ended continues after its last complete epoch and gives the same figures."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

import timm
import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.nn import functional as F

import involution.models  # noqa: F401  (registers the networks in timm)
from benchmarks.measuring.options import Row
from benchmarks.measuring.record import commit
from benchmarks.measuring.timing import Budget
from benchmarks.study.images import Images, random_crops
from benchmarks.study.plan import Recipe, Run
from involution.tasks.schedule import PolynomialPerIteration

EVAL_BATCH = 250


class Training:
    """One run: network, optimizer, finished epochs and figures so far.

    Every epoch draws its random numbers from a generator seeded with the run's seed and the epoch, so that the state
    between epochs needs no state of a generator.

    Args:
        run: the run.
        recipe: how to train.
        classes: number of outputs.
        device: where to train.
        state: file of the state, which is restored if it exists.
    """

    def __init__(self, run: Run, recipe: Recipe, classes: int, device: torch.device, state: Path) -> None:
        torch.manual_seed(run.seed)
        self.run, self.recipe, self.device, self.state = run, recipe, device, state
        network = timm.create_model(run.network, num_classes=classes, **run.options)
        config: Any = network.pretrained_cfg
        self.mean, self.std = (
            255 * torch.tensor(config[name], device=device).view(1, -1, 1, 1) for name in ("mean", "std")
        )
        self.network: nn.Module = network.to(device).to(memory_format=torch.channels_last)
        groups = param_groups_weight_decay(self.network, recipe.weight_decay, no_weight_decay_list=_undecayed(network))
        self.optimizer = torch.optim.AdamW(groups, lr=run.lr, betas=recipe.betas, fused=True)
        self.schedule = PolynomialPerIteration(1.0, 0.0, recipe.warmup_epochs, 0.0)
        self.curve: list[Row] = []
        self.seconds = 0.0
        self.peak_mib = 0.0
        self.commits: list[str | None] = []
        if state.exists():
            self._restore()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the loss is no number any more."""
        return len(self.curve) == self.recipe.epochs or self.diverged

    @property
    def diverged(self) -> bool:
        """Whether the loss of the last epoch is infinite or no number."""
        return bool(self.curve) and self.curve[-1]["train_loss"] is None

    def train(self, images: Images, test: Images, budget: Budget) -> bool:
        """Train until all epochs are done; return whether they are, or stop where the next epoch does not fit."""
        longest = 0.0
        while not self.finished:
            if longest > budget.left() or budget.left() <= 0:
                return False
            begin = time.monotonic()
            self._epoch(images, test)
            self._save()
            longest = max(longest, time.monotonic() - begin)
            print(f"{self.run.name}: {self.curve[-1]}", flush=True)
        return True

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalize images in [0, 255] and lay them out in channels last."""
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """Return the outputs of the network in evaluation mode for images in [0, 255], [N, classes] in float32."""
        self.network.eval()
        found = []
        for part in pixels.split(EVAL_BATCH):
            with self._autocast():
                found.append(self.network(self.normalize(part.float())).float())
        return torch.cat(found)

    def _epoch(self, images: Images, test: Images) -> None:
        epoch, recipe = len(self.curve), self.recipe
        torch.manual_seed(1_000_003 * (self.run.seed + 1) + epoch)
        self.network.train()
        begin = time.process_time() if self.device.type == "cpu" else time.monotonic()
        batches = torch.randperm(len(images))[: len(images) // recipe.batch_size * recipe.batch_size]
        per_epoch = len(batches) // recipe.batch_size
        total = torch.zeros((), device=self.device)
        for index, chosen in enumerate(batches.view(per_epoch, -1)):
            factor = self.schedule.factor(epoch * per_epoch + index + 1, per_epoch, recipe.epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = self.run.lr * factor
            total += self._step(images.pixels[chosen], images.labels[chosen])
        loss = (total / per_epoch).item()
        self.seconds += (time.process_time() if self.device.type == "cpu" else time.monotonic()) - begin
        self.peak_mib = max(self.peak_mib, peak_mib(self.device))
        figures = self._evaluate(test) if loss == loss and abs(loss) != float("inf") else {}
        if (head := commit()[0]) not in self.commits:
            self.commits.append(head)
        self.curve.append({"epoch": epoch + 1, "train_loss": loss if figures else None, **figures})

    def _step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        crops = self.normalize(random_crops(pixels, self.recipe.train_size, self.recipe.crop_area))
        with self._autocast():
            outputs = self.network(crops)
        loss = F.cross_entropy(outputs.float(), labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def _evaluate(self, test: Images) -> Row:
        logits = self.logits(test.pixels)
        top = logits.topk(min(5, logits.shape[1])).indices == test.labels[:, None]
        accuracies = {f"top{k}": top[:, :k].any(1).float().mean().item() for k in (1, 5)}
        return {"loss": F.cross_entropy(logits, test.labels).item(), **accuracies}

    def _autocast(self) -> torch.autocast:
        dtype = getattr(torch, self.recipe.dtype)
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def _save(self) -> None:
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
            "seconds": self.seconds,
            "peak_mib": self.peak_mib,
            "commits": self.commits,
        }
        part = self.state.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.state)

    def _restore(self) -> None:
        content = torch.load(self.state, map_location=self.device, weights_only=True)
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.curve, self.seconds = content["curve"], content["seconds"]
        self.peak_mib, self.commits = content["peak_mib"], content["commits"]


def peak_mib(device: torch.device) -> float:
    """Return the peak memory of the process; on a GPU, of its tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _undecayed(network: nn.Module) -> set[str]:
    names: Any = getattr(network, "no_weight_decay", set)
    return set(names())
