"""The study: a run that was ended and continued, failed runs, the order of the runs, and the images."""

import dataclasses
import json
import math

import pytest
import torch
import yaml
from benchmarks.command import main
from benchmarks.measuring.record import MEASURED, ROOT, Record
from benchmarks.study import plan, study, training
from benchmarks.study.images import Images, hold_out, random_crops
from benchmarks.study.robustness import CHANGES
from PIL import Image

CONFIG = ROOT / "benchmarks/study/tiny_imagenet_50.yaml"
TIMES = {"train_cpu_s", "peak_memory_mib"}


@pytest.fixture
def folder(tmp_path):
    """Noise of two colors, 16 images of each for training and 4 to test."""
    torch.manual_seed(0)
    for split, count in (("train", 16), ("val", 4)):
        for label, color in enumerate(((200, 60, 60), (60, 60, 200))):
            place = tmp_path / "data" / split / f"n{label}"
            place.mkdir(parents=True)
            for index in range(count):
                noise = torch.randint(-50, 50, (16, 16, 3)) + torch.tensor(color)
                Image.fromarray(noise.clamp(0, 255).to(torch.uint8).numpy()).save(place / f"{index}.png")
    return tmp_path


def config(folder, **networks):
    content = yaml.safe_load(CONFIG.read_text())
    content["recipe"] |= {"epochs": 2, "batch_size": 8, "train_size": 12}
    content["networks"] = networks or {"RedNet": {"network": "rednet26", "options": {"width_factor": 0.5}}}
    content["runs"] = [{"seed": 0, "networks": list(content["networks"])}]
    path = folder / "made.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(folder, path, out, state="state"):
    words = ["run", "study", "--out", str(folder / out), "--", str(path), "--root", str(folder / "data")]
    assert main([*words, "--state", str(folder / state)]) == 0
    return {file.stem: Record.read(file) for file in (folder / out).rglob("*.json")}


@pytest.mark.slow
def test_a_run_that_was_ended_and_continued_gives_the_same_record(folder, monkeypatch):
    path = config(folder)
    whole = run(folder, path, "whole")["rednet"]
    step, done = training.Training._step, []

    def interrupted(self, *images):
        done.append(1)
        if len(done) == 6:  # in the second epoch
            raise KeyboardInterrupt
        return step(self, *images)

    with monkeypatch.context() as patched:
        patched.setattr(training.Training, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(folder, path, "parts", "other")
    assert not (folder / "parts").exists()
    parts = run(folder, path, "parts", "other")["rednet"]
    (one,), (other,) = whole.rows, parts.rows
    assert {name: one[name] for name in one.keys() - TIMES} == {name: other[name] for name in other.keys() - TIMES}
    assert len(one["curve"]) == 2 and one["status"] == "finished" and one["commits"]
    assert {f"top1_{name}" for name in CHANGES} <= one.keys()
    assert str(folder / "data") not in json.dumps([whole.command, whole.rows])


@pytest.mark.slow
def test_what_has_a_record_or_belongs_to_another_process_is_left_out(folder, capsys):
    path = config(folder)
    place = folder / "state/made/seed0/rednet.lock"
    place.parent.mkdir(parents=True)
    with study.locked(place) as free:
        assert free
        assert not run(folder, path, "out")
    assert run(folder, path, "out")
    capsys.readouterr()
    run(folder, path, "out")
    assert not capsys.readouterr().out


@pytest.mark.slow
def test_runs_that_fail_or_diverge_are_recorded(folder, monkeypatch):
    networks = {
        "too small": {"network": "san10_pairwise", "options": {"width_factor": 0.5}},
        "unknown": {"network": "weathernet"},
        "diverging": {"network": "rednet26", "options": {"width_factor": 0.5}},
    }
    monkeypatch.setattr(training.F, "cross_entropy", lambda outputs, *_, **__: outputs.sum() * math.nan)
    found = {name: record.rows[0] for name, record in run(folder, config(folder, **networks), "out").items()}
    assert {name: row["status"] for name, row in found.items()} == {
        "too-small": "failed",
        "unknown": "failed",
        "diverging": "diverged",
    }
    assert "weathernet" in found["unknown"]["error"]
    assert found["diverging"]["curve"] == [{"epoch": 1, "train_loss": None}]


def test_a_budget_that_is_spent_writes_nothing(folder, capsys):
    words = ["run", "study", "--budget", "0", "--out", str(folder / "out"), "--", str(config(folder))]
    assert main([*words, "--root", str(folder / "data"), "--state", str(folder / "state")]) == 0
    assert not (folder / "out").exists()


def test_the_first_runs_of_the_study_are_balanced():
    runs = plan.read(CONFIG).runs
    assert [(one.seed, one.usual_lr) for one in runs[:12]] == [(seed, True) for seed in (0, 1, 2) for _ in range(4)]
    assert len({one.name for one in runs}) == len(runs)
    assert {one.label for one in runs} == set(plan.read(CONFIG).networks)


def test_a_wrong_configuration_is_one_line(folder, capsys):
    path = folder / "x.yaml"
    path.write_text("data: x\n")
    assert main(["run", "study", "--", str(path)]) == 2
    assert capsys.readouterr().err.startswith("config: expected the keys ['data', 'networks', ")
    assert main(["run", "study", "--", "gone.yaml"]) == 2
    assert capsys.readouterr().err == "config: expected a YAML file, got gone.yaml, which is no file\n"


def test_a_crop_of_the_whole_image_is_the_image_or_its_mirror_image():
    pixels = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    torch.manual_seed(0)
    aspect_one = pytest.MonkeyPatch()
    with aspect_one.context() as patched:
        patched.setattr(math, "log", lambda value: 0.0)
        crops = random_crops(pixels, 8, (1.0, 1.0)).round()
    mirrored = [torch.equal(crop, image.flip(2).float()) for crop, image in zip(crops, pixels, strict=True)]
    same = [torch.equal(crop, image.float()) for crop, image in zip(crops, pixels, strict=True)]
    assert all(a or b for a, b in zip(mirrored, same, strict=True))
    assert any(mirrored) and any(same)


def test_crops_lie_in_the_image():
    pixels = torch.full((64, 3, 8, 8), 200, dtype=torch.uint8)
    crops = random_crops(pixels, 6, (0.1, 1.0))
    assert crops.shape == (64, 3, 6, 6)
    torch.testing.assert_close(crops, torch.full_like(crops, 200.0))


def test_the_last_images_of_every_class_are_held_out():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    rest, held = hold_out(Images(torch.arange(8), labels, ["a", "b"]), 0.25)
    assert (rest.pixels.tolist(), held.pixels.tolist()) == ([0, 1, 2, 4, 5, 6], [3, 7])


@pytest.mark.parametrize("name", CHANGES)
def test_changed_images_are_the_same_for_every_network(name):
    pixels = torch.randint(1, 256, (6, 3, 32, 32), dtype=torch.uint8)
    torch.manual_seed(1)
    first = CHANGES[name](pixels)
    assert torch.equal(first, CHANGES[name](pixels)) and not torch.equal(first, pixels)
    assert first.shape == (6, 3, *((48, 48) if name == "larger" else (32, 32)))
    if name == "occluded":
        assert ((first == 0).all(1).float().mean((1, 2)) - 0.25).abs().max() < 0.01


def test_the_search_has_the_recipe_of_the_study():
    search, ours = (plan.read(CONFIG.with_name(name)).recipe for name in ("learning_rate.yaml", CONFIG.name))
    assert dataclasses.replace(search, epochs=ours.epochs, held_out=0.0, lr=ours.lr) == ours
    assert search.held_out > 0


def test_the_learning_rate_is_the_best_of_the_search():
    found = [Record.read(path).rows[0] for path in (MEASURED / "study/learning_rate").rglob("*.json")]
    assert {row["label"] for row in found} == {"ResNet-26"}
    assert max(found, key=lambda row: row["top1"])["lr"] == plan.read(CONFIG).recipe.lr
