import importlib.util
import json
from pathlib import Path
from statistics import mean

import pytest
import torch
from benchmarks.accuracy import denoising
from benchmarks.measuring.record import load
from PIL import Image

PATH = Path(__file__).parents[2] / "demo/digits.py"


@pytest.fixture
def demo():
    spec = importlib.util.spec_from_file_location("demo_digits", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.demo


@pytest.mark.slow
def test_everything_is_made(demo, tmp_path, monkeypatch, capsys, one_thread):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    assert demo("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--data.size=8") == 0
    folder = tmp_path / "runs/demo/version_0"
    made = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert made >= {"kernels.png", "sample.png", "checkpoints/best.ckpt", "metrics.csv"}
    out = capsys.readouterr().out
    assert "\nepoch 1/1  train/loss " in f"\n{out}"
    assert len(out.splitlines()) < 30
    assert "held-out accuracy" in out
    assert "runs/demo/version_0/sample.png" in out[: out.index("try next:")].splitlines()[-2]


@pytest.fixture
def denoise():
    return denoising.load()


def test_a_kernel_of_one_is_the_image(denoise):
    net, x = denoise.Denoiser(width=4), torch.rand(2, 3, 7, 9)
    assert net.kernels(x).shape == (2, 25, 7, 9)
    last = net.kernels[-1].requires_grad_(False)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)[12] = 1
    torch.testing.assert_close(net(x), x)
    last.bias[12], last.bias[13] = 0, 1
    torch.testing.assert_close(net(x)[..., :-1], x[..., 1:])


@pytest.mark.slow
def test_the_loss_of_the_denoiser_falls(denoise, monkeypatch, one_thread):
    torch.manual_seed(0)
    monkeypatch.setattr(denoise, "CROP", 32)
    monkeypatch.setattr(denoise, "BATCH", 4)
    clean = denoise.photograph("china")
    assert clean.shape == (1, 3, 427, 640) and clean.max() <= 1
    net, losses = denoise.train([clean[..., : denoise.LEFT]], steps=40)
    assert mean(losses[-5:]) < mean(losses[:5]) / 2
    images = denoise.compare(net, clean[..., 500:])
    assert all(image.shape == clean[..., 500:].shape for image in images.values())
    found = denoise.figures(images)
    assert found["noisy_psnr_db"] == pytest.approx(20, abs=0.1)  # noise of 0.1
    assert found["gaussian_psnr_db"] > found["noisy_psnr_db"]


@pytest.mark.slow
def test_the_denoiser_draws_and_prints(denoise, tmp_path, monkeypatch, capsys, one_thread):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(denoise, "SIGMAS", [1.0])
    assert denoise.demo("--steps=4") == 0
    with Image.open("runs/denoise/denoise.png") as picture:
        assert picture.width > 500
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["china", "flower", "picture"]


def test_the_picture_of_the_denoiser_shows_the_record():
    with Image.open(denoising.PICTURE) as picture:
        shown = json.loads(picture.text["Description"])
    rows = load("accuracy/denoising").all(seed=denoising.SEEDS[0])
    assert [{"seed": denoising.SEEDS[0], **row} for row in shown] == rows
    assert denoising.PICTURE.stat().st_size < 300_000
