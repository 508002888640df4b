"""Learning rates as a factor on that of the optimizer, per iteration."""

from __future__ import annotations

import math


class Schedule:
    """A linear warm-up, times the decay that a subclass defines.

        lr(n) = lr · decay(n) · (1 − (1 − warmup_factor) · max(0, 1 − n / N))

    where N is `warmup_epochs` in iterations.

    Args:
        warmup_epochs: length of the warm-up, in epochs; 0 is none.
        warmup_factor: of the learning rate at its start.
    """

    def __init__(self, warmup_epochs: float, warmup_factor: float) -> None:
        if warmup_epochs < 0:
            raise ValueError(f"warmup_epochs: expected at least 0, got {warmup_epochs}")
        if not 0 <= warmup_factor <= 1:
            raise ValueError(f"warmup_factor: expected 0 to 1, got {warmup_factor}")
        self.warmup_epochs, self.warmup_factor = warmup_epochs, warmup_factor

    def factor(self, iteration: int, per_epoch: int, epochs: int) -> float:
        """Return lr(n) / lr for a run of `epochs` times `per_epoch` iterations."""
        left = max(0.0, self.warmup_epochs * per_epoch - iteration)
        warmup = 1 - (1 - self.warmup_factor) * left / (self.warmup_epochs * per_epoch) if left else 1.0
        return self.decay(iteration, per_epoch, epochs) * warmup

    def decay(self, iteration: int, per_epoch: int, epochs: int) -> float:
        """Return the factor without the warm-up."""
        raise NotImplementedError


class CosinePerEpoch(Schedule):
    """Half a cosine from 1 to 0 that moves once per epoch e: decay = (1 + cos(π · e / epochs)) / 2.

    The schedule of the released classifiers: the last epoch runs at a rate a little above 0, the warm-up moves with
    every iteration.

    >>> recipe = CosinePerEpoch(warmup_epochs=5, warmup_factor=0.25)
    >>> [round(0.8 * recipe.factor(n, per_epoch=626, epochs=130), 4) for n in (0, 1565, 3130, 65 * 626)]
    [0.2, 0.4997, 0.7971, 0.4]
    """

    def decay(self, iteration: int, per_epoch: int, epochs: int) -> float:
        return (1 + math.cos(math.pi * (iteration // per_epoch) / epochs)) / 2
