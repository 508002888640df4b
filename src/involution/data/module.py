"""What the data modules of all tasks share: three splits as loaders, and chance that only seed and epoch decide."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class DataModule(LightningDataModule):
    """Base of the data modules: a subclass says what one example is, this class makes batches of them.

    Args:
        batch_size: images per step and process.
        num_workers: processes that load images; None is one per core, at most 8.
    """

    classes: list[str]
    """Names of the classes, in the order of their indices."""

    eval_transform: Any
    """What an image goes through before it is judged; a dataclass, whose fields a checkpoint remembers."""

    collate: Callable[[list[Any]], Any] | None = None
    """Makes a batch of examples; None stacks them."""

    def __init__(self, batch_size: int, num_workers: int | None) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size: expected a positive number, got {batch_size}")
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"num_workers: expected a number of processes or null, got {num_workers}")
        self.batch_size = batch_size
        self.num_workers = min(8, os.cpu_count() or 1) if num_workers is None else num_workers

    def train_dataset(self) -> Dataset[Any]:
        """Examples to learn from, augmented; what is drawn comes from torch's global generator."""
        raise NotImplementedError

    def val_dataset(self) -> Dataset[Any]:
        """Examples that choose the checkpoint."""
        raise NotImplementedError

    def test_dataset(self) -> Dataset[Any]:
        """Examples to be judged by."""
        raise NotImplementedError

    def predict_dataset(self) -> Dataset[Any]:
        """Those of the test, without what is to be predicted."""
        raise NotImplementedError

    def results(self, summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what was predicted of `predict_dataset` in the form that the judges of the data set expect."""
        return summaries

    def train_dataloader(self) -> DataLoader[Any]:
        examples, trainer = self.train_dataset(), self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        order = EpochSampler(examples, replicas, rank)
        if trainer:
            # The epochs that are behind a resumed run. Lightning sets this too, but only when batches are on their way.
            progress: Any = trainer.fit_loop.epoch_progress.current
            order.set_epoch(progress.processed)
        # ClassificationBatch norm cannot learn from a single image.
        drop_last = len(order) % self.batch_size == 1 and len(order) > 1
        return self._loader(SeededDataset(examples), sampler=order, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.val_dataset())

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.test_dataset())

    def predict_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.predict_dataset())

    def _loader(self, examples: Dataset[Any], **kwargs: Any) -> DataLoader[Any]:
        return DataLoader(
            examples,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # of its own: loading draws nothing from the numbers that dropout sees
            collate_fn=self.collate,
            **kwargs,
        )


class SeededDataset(Dataset[Any]):
    """Augmented examples. What chance does to one depends on seed, epoch and index alone.

    So a run does not depend on the number of workers, and a resumed run continues as if it had not stopped.
    """

    def __init__(self, examples: Dataset[Any]) -> None:
        self.examples = examples

    def __getitem__(self, place: tuple[int, int]) -> Any:
        epoch, index = place
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(hash((_seed(), epoch, index)))
            return self.examples[index]


class EpochSampler(DistributedSampler[int]):
    """Yield (epoch, index) in an order drawn from seed and epoch, each process its share."""

    def __init__(self, examples: Dataset[Any], replicas: int, rank: int) -> None:
        super().__init__(examples, replicas, rank, shuffle=True, seed=_seed())

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        indices = super().__iter__()
        return ((self.epoch, index) for index in indices)


def _seed() -> int:
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))  # set by Lightning's seed_everything, in workers too
