import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from involution.data import ClassificationEvalTransform
from involution.data.transforms import padded_crop, random_resized_crop


def photograph(height, width):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8)


def test_preprocessing_is_the_bilinear_formula_without_antialiasing():
    image = photograph(500, 375)
    expected = F.interpolate(image[None].double(), (341, 256), mode="bilinear")[0]  # 341 = int(256 · 500 / 375)
    expected = expected[:, 58:282, 16:240]  # round((341 − 224) / 2) = 58, half to even
    got = ClassificationEvalTransform(resize=256, crop=224, channels=3)(image)
    assert got.dtype == torch.uint8
    assert got.shape == (3, 224, 224)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1)  # whole shades, in fixed-point arithmetic
    assert (got - expected).abs().mean() < 0.4


def test_preprocessing_differs_from_an_antialiased_resize():
    image = photograph(512, 512)
    ours = ClassificationEvalTransform(resize=64, crop=64, channels=3)(image)
    smooth = Image.fromarray(image.movedim(0, 2).numpy()).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(smooth).astype(int) - ours.movedim(0, 2).numpy()).mean() > 25


@pytest.mark.parametrize("size", [(2, 60_000), (60_000, 2)])
def test_of_a_line_of_pixels_the_middle_is_evaluated(size):
    """Resized in whole, this one would have 2048 x 61 million pixels."""
    image = photograph(*size)
    long = size.index(60_000)
    middle = image.narrow(1 + long, 30_000 - 32, 64)
    eval_transform = ClassificationEvalTransform(resize=2048, crop=64, channels=3)
    assert eval_transform(image).equal(eval_transform(middle))


@pytest.mark.parametrize("size", [(224, 224), (33, 500), (500, 33)])
def test_training_crops_have_one_size_and_range(size):
    crops = torch.stack([random_resized_crop(48)(photograph(*size)) for _ in range(8)])
    assert crops.shape == (8, 3, 48, 48)
    assert crops.dtype == torch.uint8
    assert crops.min() < 50
    assert crops.max() > 205


def test_randaugment_changes_crops():
    image = torch.arange(64, dtype=torch.uint8).expand(3, 64, -1)
    crops = {tuple(random_resized_crop(8, 30)(image).flatten().tolist()) for _ in range(20)}
    plain = {tuple(random_resized_crop(8)(image).flatten().tolist()) for _ in range(20)}
    assert any(len(set(crop[:64]) - set(range(64))) for crop in crops)  # other shades than those of the image
    assert all(set(crop) <= set(range(64)) for crop in plain)
    with pytest.raises(ValueError, match="randaugment_magnitude: expected 0 to 30 or null, got 31"):
        random_resized_crop(8, 31)


def test_padded_crops_are_shifted_and_flipped_copies():
    image = photograph(4, 4)
    plain = ClassificationEvalTransform(4, 4, 3)
    padded = F.pad(image, (1, 1, 1, 1))
    shifts = [padded[:, i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    copies = [view for shift in shifts for view in (shift, shift.flip(2))]
    seen = set()
    for _ in range(300):
        crop = padded_crop(plain, padding=1)(image)
        seen |= {i for i, copy in enumerate(copies) if torch.equal(crop, copy)}
        assert seen
    assert len(seen) == 18


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8, 3), "resize: expected a positive number, got 0"),
        ((8, -1, 3), "crop: expected a positive number, got -1"),
        ((8, 8, 4), "channels: expected 1 or 3, got 4"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassificationEvalTransform(*arguments)
