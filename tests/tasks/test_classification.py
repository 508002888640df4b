from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer

from involution.data import ClassificationBatch, PredictionBatch, Split, Splits, Synthetic
from involution.tasks import Classification, CosinePerEpoch

CLASSES = ["ant", "bee", "cow", "dog", "elk", "fox"]
TINY = "test_resnet"  # of timm, a few thousand parameters


def classification(network=TINY, **kwargs):
    arguments = {
        "classes": CLASSES,
        "eval_transform": {"resize": 8, "crop": 8, "channels": 3},
        "label_smoothing": 0.1,
        "optimizer": partial(torch.optim.SGD, lr=0.4),
        "schedule": CosinePerEpoch(warmup_epochs=2, warmup_factor=0.25),
        **kwargs,
    }
    return Classification(network, **arguments)


@pytest.fixture
def trainer(tmp_path, one_thread):
    return partial(
        Trainer,
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.fixture(autouse=True)
def lightning_remarks(recwarn):
    """Remarks of Lightning on itself, which the command line keeps off the screen, are no errors here either."""
    from involution.cli.recipe import quiet

    quiet()


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [3, 1])
def test_images_are_normalized_once_as_the_network_says(channels, channels_last):
    eval_transform = {"resize": 8, "crop": 8, "channels": channels}
    task = classification(eval_transform=eval_transform, channels_last=channels_last)
    mean, std = torch.tensor(task.net.pretrained_cfg["mean"]), torch.tensor(task.net.pretrained_cfg["std"])
    if channels == 1:
        mean, std = mean.mean(), std.mean()
    images = torch.rand(2, channels, 8, 8)
    normalized = task.normalize(images)
    torch.testing.assert_close(normalized, (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert normalized.is_contiguous(memory_format=layout)
    assert all(weight.is_contiguous(memory_format=layout) for weight in task.net.parameters() if weight.dim() == 4)
    assert not [name for name in task.state_dict() if "mean" == name or "std" == name]


def test_loss_is_smoothed_cross_entropy(trainer):
    task = classification().eval()
    batch = ClassificationBatch(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 5, 5]))
    task.log = lambda *args, **kwargs: None
    probabilities = task(batch.images).double().softmax(1)
    target = torch.full((4, 6), 0.1 / 6, dtype=torch.float64)
    target[range(4), batch.labels] += 0.9
    expected = -(target * probabilities.log()).sum(1).mean()
    assert task.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_rates_follow_the_schedule_step_by_step(trainer):
    rates = []

    class Recording(Classification):
        def on_train_batch_start(self, *_):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    task = classification()
    task.__class__ = Recording
    trainer(max_epochs=3).fit(task, datamodule=Synthetic(8, 6, batch_size=16, images=64))
    schedule = CosinePerEpoch(2, 0.25)
    assert rates == pytest.approx([0.4 * schedule.factor(n, 4, 3) for n in range(12)])


def test_accumulated_batches_are_one_iteration(trainer):
    task = classification()
    trainer(max_epochs=2, accumulate_grad_batches=2).fit(task, datamodule=Synthetic(8, 6, batch_size=16, images=64))
    factor = CosinePerEpoch(2, 0.25).factor(4, 2, 2)  # the rate of the step that comes next
    assert task.lr_schedulers().get_last_lr() == pytest.approx([0.4 * factor])


def test_accuracy_is_counted_over_all_batches(trainer):
    task, data = classification(), Synthetic(8, 6, batch_size=16, images=40)
    [results] = trainer().test(task, datamodule=data, verbose=False)
    task.eval()
    logits = torch.cat([task(batch.images) for batch in data.test_dataloader()])
    labels = torch.tensor(data.splits.test.labels)
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert results["test/top1"] == pytest.approx((ranks < 1).float().mean().item())
    assert results["test/top5"] == pytest.approx((ranks < 5).float().mean().item())
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert results["test/loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_predictions_are_named_and_sorted():
    task = classification().eval()
    images = torch.rand(2, 3, 8, 8)
    probabilities = task(images).softmax(1)
    for i, prediction in enumerate(task.predict_step(PredictionBatch(images, ["a.png", "b.png"]), 0)):
        assert prediction["image"] == ["a.png", "b.png"][i]
        assert len(prediction["classes"]) == 5
        order = probabilities[i].argsort(descending=True)[:5]
        assert [c["name"] for c in prediction["classes"]] == [CLASSES[label] for label in order]
        assert [c["probability"] for c in prediction["classes"]] == pytest.approx(probabilities[i][order].tolist())


class Bright(Synthetic):
    """Images that are as bright as their label says."""

    def read_splits(self):
        labels = [i % 6 for i in range(60)]
        split = Split([torch.full((3, 8, 8), 40 * label, dtype=torch.uint8) for label in labels], labels)
        return Splits(split, split, split)


def test_it_learns(trainer):
    task = classification(optimizer=partial(torch.optim.AdamW, lr=3e-3), schedule=CosinePerEpoch(0, 1.0))
    data = Bright(8, 6, batch_size=20)
    trainer(max_epochs=12).fit(task, datamodule=data)
    [results] = trainer().validate(task, datamodule=data, verbose=False)
    assert results["val/top1"] > 0.6  # chance is 0.17


def test_dropout_is_the_same_after_a_resume(trainer, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    drawn = []

    class Recording(Classification):
        def on_train_batch_start(self, *_):
            drawn.append(torch.rand(()).item())

    for _ in range(2):
        torch.manual_seed(len(drawn))
        task = classification()
        task.__class__ = Recording
        trainer(max_epochs=2, limit_train_batches=1).fit(task, datamodule=Synthetic(8, 6, batch_size=16))
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


def test_compiled(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: calls.append(module))
    task = classification(compile=True)
    assert calls == [task.net]


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (
            "rednet51",
            {},
            "network: expected a model of timm's registry such as 'rednet50', got 'rednet51'; did you mean 'rednet5",
        ),
        ("?", {}, r"network: expected a model of timm's registry such as 'rednet50', got '\?'$"),
        ("rednet26", {"colour": 1}, r"options: expected arguments of rednet26, got \{'colour': 1\}"),
        (
            "rednet26",
            {"in_chans": 1},
            r"options: expected arguments of rednet26, got \{'in_chans': 1\} .*multiple values",
        ),
    ],
)
def test_errors(network, options, message):
    with pytest.raises(ValueError, match=message):
        classification(network, options=options)


def test_a_schedule_needs_a_length(trainer):
    with pytest.raises(ValueError, match="max_epochs: expected at least 1, the schedule depends on it, got -1"):
        trainer(max_epochs=-1).fit(classification(), datamodule=Synthetic(8, 6, batch_size=16))
