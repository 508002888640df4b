"""Learning rate schedules: a factor on the optimizer's learning rate for each iteration."""

from __future__ import annotations

import math


class Schedule:
    """Linear warm-up multiplied by the decay of a subclass.

        lr(n) = lr · decay(n) · (1 − (1 − warmup_factor) · max(0, 1 − n / N))

    where N is the number of iterations in `warmup_epochs`.

    Args:
        warmup_epochs: length of the warm-up in epochs; 0 for none.
        warmup_factor: factor on the learning rate at the start of the warm-up.
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
        """Return the factor without warm-up."""
        raise NotImplementedError


class CosinePerEpoch(Schedule):
    """Cosine decay from 1 to 0, updated once per epoch e: decay = (1 + cos(π · e / epochs)) / 2.

    The released classifiers use this schedule. The warm-up is updated in every iteration. The last epoch has a rate
    slightly above 0.

    >>> recipe = CosinePerEpoch(warmup_epochs=5, warmup_factor=0.25)
    >>> [round(0.8 * recipe.factor(n, per_epoch=626, epochs=130), 4) for n in (0, 1565, 3130, 65 * 626)]
    [0.2, 0.4997, 0.7971, 0.4]
    """

    def decay(self, iteration: int, per_epoch: int, epochs: int) -> float:
        return (1 + math.cos(math.pi * (iteration // per_epoch) / epochs)) / 2


class PolynomialPerIteration(Schedule):
    """Polynomial decay per iteration from 1 to `end_factor`: decay = (1 − end) · (1 − n / N)^power + end.

    The released segmentors use this schedule with power 0.9 and no warm-up.

    Args:
        power: exponent; 1 for linear decay.
        end_factor: factor on the learning rate at the end.
        warmup_epochs, warmup_factor: see `Schedule`.

    >>> recipe = PolynomialPerIteration(power=0.9, end_factor=0.01, warmup_epochs=0, warmup_factor=1)
    >>> [round(0.01 * recipe.factor(n, per_epoch=372, epochs=215), 6) for n in (0, 39990, 79980)]
    [0.01, 0.005405, 0.0001]
    """

    def __init__(self, power: float, end_factor: float, warmup_epochs: float, warmup_factor: float) -> None:
        super().__init__(warmup_epochs, warmup_factor)
        if power <= 0:
            raise ValueError(f"power: expected a positive number, got {power}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"end_factor: expected 0 to 1, got {end_factor}")
        self.power, self.end_factor = power, end_factor

    def decay(self, iteration: int, per_epoch: int, epochs: int) -> float:
        left = max(0.0, 1 - iteration / (per_epoch * epochs))
        return (1 - self.end_factor) * left**self.power + self.end_factor


class Steps(Schedule):
    """Step decay at the given epochs: decay = factor^(number of `epochs` ≤ e).

    Args:
        epochs: epochs at whose start the learning rate is reduced.
        factor: factor of each reduction.
        warmup_epochs, warmup_factor: see `Schedule`.

    >>> recipe = Steps(epochs=[8, 11], factor=0.1, warmup_epochs=0.5, warmup_factor=0.001)
    >>> [round(0.02 * recipe.factor(n, per_epoch=1000, epochs=12), 6) for n in (0, 250, 7999, 8000, 11000)]
    [2e-05, 0.01001, 0.02, 0.002, 0.0002]
    """

    def __init__(self, epochs: list[int], factor: float, warmup_epochs: float, warmup_factor: float) -> None:
        super().__init__(warmup_epochs, warmup_factor)
        self.epochs, self.step = epochs, factor

    def decay(self, iteration: int, per_epoch: int, epochs: int) -> float:
        return self.step ** sum(iteration // per_epoch >= epoch for epoch in self.epochs)
