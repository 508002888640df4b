import csv
import json
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from involution.cli.lightning.progress import LINES, EpochLines
from involution.data import ImageFolder
from involution.tasks import load_task, read_checkpoint
from involution.weights import to_official

RUN = "runs/cifar10/version_0"


def weights_of(path):
    return read_checkpoint(path).weights


def test_fit_leaves_checkpoints_logs_and_configuration(run, recipe, tmp_path):
    outcome = run("fit", *recipe())
    assert outcome.status == 0
    assert outcome.err == ""
    assert outcome.out.startswith("val/top1 ")
    assert outcome.out.endswith(f"{RUN}/checkpoints/best.ckpt\n")
    folder = tmp_path / RUN
    assert {path.name for path in folder.iterdir()} >= {"checkpoints", "metrics.csv", "config.yaml", "hparams.yaml"}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(folder.glob("events.out.tfevents.*"))
    [columns] = csv.reader((folder / "metrics.csv").read_text().splitlines()[:1])
    assert {"epoch", "step", "train/loss", "train/loss_step", "val/loss", "val/top1", "lr-AdamW"} <= set(columns)
    assert {"train/images_per_s", "train/left_s"} <= set(columns)
    assert load_task(folder / "checkpoints/best.ckpt").classes == ["cat", "dog"]


def test_a_limit_of_one_is_one_batch(run, recipe, tmp_path):
    """As in Lightning, 1 is a number of batches and 1.0 the share of all."""
    assert run("fit", *recipe(trainer__limit_train_batches=1)).status == 0
    rows = csv.DictReader((tmp_path / RUN / "metrics.csv").read_text().splitlines())
    assert {row["step"] for row in rows if row["train/loss"]} == {"0"}


@pytest.mark.slow
def test_the_next_run_has_its_own_folder(run, recipe, tmp_path):
    for _ in range(2):
        assert run("fit", *recipe(trainer__limit_train_batches=1)).status == 0
    assert sorted(path.name for path in (tmp_path / "runs/cifar10").iterdir()) == ["version_0", "version_1"]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_equals_an_unbroken_one(run, recipe, num_workers, tmp_path):
    assert run("fit", *recipe(data__num_workers=num_workers, trainer__max_epochs=2)).status == 0
    unbroken = read_checkpoint(tmp_path / RUN / "checkpoints/last.ckpt").state
    settings = {"data__num_workers": num_workers, "trainer__max_epochs": 2, "trainer__default_root_dir": "broken"}
    assert run("fit", *recipe(**settings, trainer__max_steps=5)).status == 0  # one epoch
    last = tmp_path / "broken/version_0/checkpoints/last.ckpt"
    assert read_checkpoint(last).state["epoch"] == 0
    outcome = run("fit", *recipe(**settings), "--checkpoint", last)
    assert outcome.status == 0
    assert outcome.err == ""
    resumed = read_checkpoint(last).state
    assert resumed["epoch"] == unbroken["epoch"] == 1
    for name, value in unbroken["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name
    assert resumed["lr_schedulers"] == unbroken["lr_schedulers"]
    moments = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (resumed, unbroken)]
    for index, state in moments[1].items():
        assert torch.equal(moments[0][index]["exp_avg"], state["exp_avg"])


@pytest.mark.slow
def test_the_seed_decides(run, recipe, tmp_path):
    for i, seed in enumerate((5, 5, 6)):
        assert run("fit", *recipe(seed_everything=seed, trainer__default_root_dir=i)).status == 0
    runs = [weights_of(tmp_path / f"{i}/version_0/checkpoints/last.ckpt") for i in range(3)]
    same = [all(torch.equal(runs[0][name], other[name]) for name in runs[0]) for other in runs[1:]]
    assert same == [True, False]


@pytest.mark.slow
def test_validate_and_test_measure_a_checkpoint(run, recipe, checkpoint, tmp_path):
    for command in ("validate", "test"):
        outcome = run(command, *recipe(), "--checkpoint", checkpoint)
        assert outcome.status == 0
        assert outcome.err == ""
        assert f"{command[:4].replace('vali', 'val')}/top1" in outcome.out
    assert not (tmp_path / "runs").exists()


def test_released_weights_are_evaluated_without_a_checkpoint(run, recipe, weights, tmp_path):
    """A file under the official names, without hyperparameters, gives the metrics of the checkpoint that it is from."""
    task = load_task(weights)
    torch.save({"state_dict": to_official(task.net.state_dict()).weights}, tmp_path / "official.pth")
    shape = {"model__network": "rednet26", "model__options": "{stem_stride: 1}"}
    outcome = run("test", *recipe(**shape), "--checkpoint", tmp_path / "official.pth", "--json")
    assert outcome.err == ""
    data = ImageFolder(tmp_path / "images", size=32, resize=32, padding=4, batch_size=4, num_workers=0)
    images, labels = next(iter(data.test_dataloader()))
    loss = torch.nn.functional.cross_entropy(task.eval()(images), labels)
    assert json.loads(outcome.out)["test/loss"] == pytest.approx(loss.item(), rel=1e-4)
    torch.save({"state_dict": task.net.state_dict() | {"fc.bias": torch.zeros(3)}}, tmp_path / "three.pth")
    outcome = run("test", *recipe(**shape), "--checkpoint", tmp_path / "three.pth")
    assert outcome.status == 2
    assert "three.pth, in which 1 differ: fc.bias is (3,), not (2,)" in outcome.err


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__precision": "bf16-mixed"},
        {"trainer__accumulate_grad_batches": 2},
        {"trainer__fast_dev_run": "true"},
        {"trainer__logger": "false", "trainer__callbacks": "null"},
        {"trainer__callbacks+": EMAWeightAveraging.__name__},
        {"model__channels_last": "false"},
    ],
    ids=str,
)
def test_what_lightning_offers_works(run, recipe, changes):
    outcome = run("fit", *recipe(**changes))
    assert outcome.status == 0
    assert outcome.err == ""


@pytest.mark.slow
def test_runs_without_a_logger_share_a_folder(run, recipe):
    for _ in range(2):
        assert run("fit", *recipe(trainer__logger="false", trainer__callbacks="null")).status == 0


@pytest.mark.slow
def test_json_is_all_there_is_on_standard_output(run, recipe):
    fitted = json.loads(run("fit", *recipe(), "--json").out)
    assert fitted["checkpoint"] == f"{RUN}/checkpoints/best.ckpt"
    outcome = run("validate", *recipe(), "--checkpoint", fitted["checkpoint"], "--json")
    assert json.loads(outcome.out)["val/top1"] == pytest.approx(fitted["val/top1"])
    outcome = run("test", *recipe(), "--checkpoint", fitted["checkpoint"], "--json")
    assert set(json.loads(outcome.out)) == {"test/loss", "test/top1"}
    assert outcome.err == ""


def test_progress_is_shown_without_the_number_of_the_run(run, recipe, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    outcome = run("fit", *recipe(trainer__enable_progress_bar="true"))
    assert "Epoch 0: 100%" in outcome.out
    assert "val/top1=" in outcome.out
    assert "v_num" not in outcome.out
    assert re.search(r"images/s=[\d.e+]+, left=0:00:0", outcome.out)


@pytest.mark.parametrize(("epochs", "lines"), [(1, 1), (10, 10), (20, 20), (30, 15), (130, 19), (-1, 7)])
def test_progress_is_a_line_per_epoch_without_a_terminal(epochs, lines, capsys):
    metrics = {"val/top1": torch.tensor(0.5), "train/loss_step": torch.tensor(1.0), "train/loss": torch.tensor(2.0)}
    trainer = SimpleNamespace(max_epochs=epochs, is_global_zero=True, callback_metrics=metrics)
    progress = EpochLines()
    progress.on_train_start(trainer, None)
    for trainer.current_epoch in range(epochs if epochs > 0 else 7):
        progress.on_train_epoch_end(trainer, None)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == lines <= LINES
    last = f"epoch {epochs}/{epochs}" if epochs > 0 else "epoch 7"
    assert printed[-1] == f"{last}  train/loss 2.0000  val/top1 0.5000  0 s"
