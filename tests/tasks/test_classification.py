from functools import partial
from itertools import product
from types import SimpleNamespace

import pytest
import timm
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny import CLASSES, TINY, classification
from torchvision.transforms import v2

from involution.data import ClassificationBatch, LabelledTensors, PredictionBatch, Splits, Synthetic
from involution.tasks import Classification, CosinePerEpoch, load_task

pytestmark = pytest.mark.usefixtures("lightning_remarks")


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


@pytest.mark.parametrize(("name", "mixer"), [("mixup_alpha", v2.MixUp), ("cutmix_alpha", v2.CutMix)])
def test_mixed_images_have_mixed_labels(name, mixer):
    task = classification(**{name: 0.7}).eval()
    task.log = lambda *args, **kwargs: None
    batch = ClassificationBatch(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 5, 5]))
    torch.manual_seed(3)
    torch.randint(1, ())  # the choice among one mixer
    images, labels = mixer(alpha=0.7, num_classes=6)(*batch)
    assert not torch.equal(images, batch.images)
    expected = torch.nn.functional.cross_entropy(task(images), labels, label_smoothing=0.1)
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(task.training_step(batch, 0))
    assert losses[0] == losses[1]
    both = {task.training_step(batch, 0).item() for _ in range(20)}
    assert len(both) > 15
    assert min(both) < expected < 3 * max(both)


def test_errors_of_mixing():
    with pytest.raises(ValueError, match="cutmix_alpha: expected at least 0, got -1"):
        classification(cutmix_alpha=-1.0)


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


def test_a_loss_that_is_not_a_number_is_reported():
    """Not left out of the mean."""
    metric = classification().val_loss
    metric.update(torch.tensor(2.0), 4)
    metric.update(torch.tensor(torch.nan), 4)
    assert metric.compute().isnan()


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
    """Images whose brightness is proportional to the label."""

    def read_splits(self):
        labels = [i % 6 for i in range(60)]
        images = torch.stack([torch.full((3, 8, 8), 40 * label, dtype=torch.uint8) for label in labels])
        split = LabelledTensors(images, labels)
        return Splits(split, split, split)


@pytest.mark.slow
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
        def training_step(self, batch, index):
            drawn.append(torch.rand(()).item())
            return super().training_step(batch, index)

    for _ in range(2):
        torch.manual_seed(len(drawn))
        task = classification()
        task.__class__ = Recording
        trainer(max_epochs=2, limit_train_batches=1).fit(task, datamodule=Synthetic(8, 6, batch_size=16))
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


def test_dropout_differs_between_processes_epochs_and_batches(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    drawn = set()
    for rank, epoch, batch in product(range(2), repeat=3):
        task = SimpleNamespace(global_rank=rank, current_epoch=epoch)
        Classification.on_train_batch_start(task, None, batch)
        drawn.add(torch.rand(()).item())
    assert len(drawn) == 8


def test_compiled(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: calls.append(module))
    task = classification(compile=True)
    assert calls == [task.net]


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("rednet51", {}, "network: expected a network of timm's registry, got 'rednet51'; close matches: .*rednet5"),
        ("?", {}, r"network: expected a network of timm's registry, got '\?'$"),
        (
            "rednet26",
            {"pretrained": True},
            "options: expected arguments of the architecture, got pretrained; pass a file",
        ),
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


def test_a_loss_that_is_not_finite_stops_the_run(trainer, tmp_path):
    task = classification()
    task.training_step = lambda batch, batch_idx: task(batch.images).sum() * (torch.nan if batch_idx else 1)
    checkpoint = ModelCheckpoint(tmp_path, "last", every_n_train_steps=1)
    run = trainer(max_epochs=1, callbacks=[checkpoint], enable_checkpointing=True)
    message = (
        r"loss: expected a finite number, got nan in step 1 of epoch 0; last checkpoint: .*last\.ckpt; use a lower"
    )
    with pytest.raises(ValueError, match=message):
        run.fit(task, datamodule=Synthetic(8, 6, batch_size=16, images=64))
    assert (tmp_path / "last.ckpt").exists()


@pytest.fixture
def initial(tmp_path):
    """A file of weights with as many classes as the data, and their values."""
    torch.manual_seed(5)
    state = timm.create_model(TINY, num_classes=6).state_dict()
    torch.save(state, tmp_path / "initial.pt")
    return tmp_path / "initial.pt", state


def test_initial_weights_are_loaded_when_a_run_starts_and_not_stored(trainer, initial, tmp_path):
    path, state = initial
    data = Synthetic(8, 6, batch_size=16, images=32)
    task = classification(weights=str(path), optimizer=partial(torch.optim.SGD, lr=0.0))
    assert not torch.equal(task.net.fc.weight, state["fc.weight"])
    run = trainer(max_epochs=1)
    run.fit(task, datamodule=data)
    assert torch.equal(task.net.fc.weight, state["fc.weight"])
    run.save_checkpoint(tmp_path / "run.ckpt")
    path.unlink()
    stored = torch.load(tmp_path / "run.ckpt", weights_only=True)["hyper_parameters"]
    assert not {"weights", "optimizer", "schedule"} & set(stored)
    again = classification(weights=str(path))
    trainer().test(again, datamodule=data, ckpt_path=tmp_path / "run.ckpt", verbose=False)  # the file is not needed
    assert torch.equal(again.net.fc.weight, state["fc.weight"])
    assert torch.equal(load_task(tmp_path / "run.ckpt").net.fc.weight, state["fc.weight"])
    with pytest.raises(ValueError, match=r"weights: expected a file, got .*initial\.pt, which does not exist"):
        trainer(max_epochs=1).fit(classification(weights=str(path)), datamodule=data)


def test_weights_of_other_classes_keep_all_but_the_classifier(trainer, initial):
    path, state = initial
    task = classification(weights=str(path), classes=CLASSES[:4], optimizer=partial(torch.optim.SGD, lr=0.0))
    trainer(max_epochs=1).fit(task, datamodule=Synthetic(8, 4, batch_size=16, images=32))
    assert task.net.fc.weight.shape[0] == 4
    assert torch.equal(task.net.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


@pytest.mark.parametrize(
    "options",
    [{"fast_dev_run": True}, {"limit_train_batches": 0.5}, {"limit_val_batches": 0}, {"limit_train_batches": 2}],
    ids=str,
)
def test_options_of_the_trainer_that_shorten_a_run(trainer, options):
    task = classification()
    trainer(max_epochs=1, **options).fit(task, datamodule=Synthetic(8, 6, batch_size=16, images=64))
    steps = {"fast_dev_run": 1, "limit_train_batches": 2, "limit_val_batches": 4}[next(iter(options))]
    assert task.global_step == steps
