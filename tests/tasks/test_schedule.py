import math

import pytest

from involution.tasks import CosinePerEpoch, PolynomialPerIteration

PER_EPOCH, EPOCHS, RATE = 626, 130, 0.8  # 1 281 167 images, 2048 at a time


def published(iteration):
    """The learning rate of the released training code."""
    epoch = iteration // PER_EPOCH
    rate = 0.4 * (1 + math.cos(math.pi * epoch / EPOCHS))
    return rate * (1 - (1 - iteration / 3130) * 0.75) if iteration < 3130 else rate


@pytest.mark.parametrize("iteration", [0, 1, 625, 626, 1565, 3129, 3130, 3755, 3756, 40689, 40690, 81379])
def test_imagenet_rates_are_the_published_ones(iteration):
    schedule = CosinePerEpoch(warmup_epochs=5, warmup_factor=0.25)
    assert RATE * schedule.factor(iteration, PER_EPOCH, EPOCHS) == pytest.approx(published(iteration), rel=1e-12)


def test_some_rates_by_hand():
    schedule = CosinePerEpoch(warmup_epochs=5, warmup_factor=0.25)
    rates = [RATE * schedule.factor(n, PER_EPOCH, EPOCHS) for n in (0, 65 * 626, 130 * 626 - 1)]
    assert rates == pytest.approx([0.2, 0.4, 0.4 * (1 - math.cos(math.pi / 130))])


def test_without_warmup():
    assert CosinePerEpoch(warmup_epochs=0, warmup_factor=1.0).factor(0, PER_EPOCH, EPOCHS) == 1.0


@pytest.mark.parametrize("iteration", [0, 1, 40_000, 79_979, 79_980, 80_500])
def test_segmentors_go_from_a_hundredth_to_a_ten_thousandth(iteration):
    """As the framework of the released segmentors writes it, with its least rate."""
    schedule = PolynomialPerIteration(power=0.9, end_factor=0.01, warmup_epochs=0, warmup_factor=1.0)
    left = max(0, 1 - iteration / (215 * 372))
    expected = (0.01 - 1e-4) * left**0.9 + 1e-4
    assert 0.01 * schedule.factor(iteration, per_epoch=372, epochs=215) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.1, 0, 1.0), "power: expected a positive number, got 0"),
        ((0.9, 1.5, 0, 1.0), "end_factor: expected 0 to 1, got 1.5"),
    ],
)
def test_errors_of_the_polynomial(arguments, message):
    with pytest.raises(ValueError, match=message):
        PolynomialPerIteration(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0.1), "warmup_epochs: expected at least 0, got -1"),
        ((1, 2.0), "warmup_factor: expected 0 to 1, got 2.0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        CosinePerEpoch(*arguments)
