"""The data module of all tasks. It creates data loaders from one source of images per split."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, Dataset

from involution.data.batch import Batch, PredictionBatch
from involution.data.dataset import ImageDataset, ImageFiles, ImageSource, Transform, WithoutTargets
from involution.data.sampler import EpochSampler, GroupedSampler, SeededDataset
from involution.data.transforms import EvalTransform

Split = Literal["train", "val", "test"]


MOST_WORKERS = 1024  # more would take the machine down


class DataModule(LightningDataModule):
    """Base class of the data modules. Subclasses define the source of each split; this class makes the batches.

    Args:
        train_transform: transform of training images and targets; uses torch's global random number generator.
        eval_transform: transform of images for validation, test and prediction.
        batch_size: images per step and process.
        num_workers: number of processes that load images. None uses the CPU cores that this process may run on,
            divided by the number of training processes of the node, and at most 8.
        max_corrupt_images: maximum number of training images per process that cannot be decoded. They are reported
            and replaced; one more ends the run. Validation and test images must all be decodable.
    """

    classes: list[str]
    """Names of the classes, in the order of their indices."""

    collate: Callable[[Sequence[Any]], Any]
    """Makes a batch of pairs of image and target."""

    def __init__(
        self,
        train_transform: Transform,
        eval_transform: EvalTransform,
        batch_size: int,
        num_workers: int | None,
        max_corrupt_images: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size: expected a positive number, got {batch_size}")
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"num_workers: expected a number of processes or null, got {num_workers}")
        if num_workers is not None and num_workers > MOST_WORKERS:
            raise ValueError(f"num_workers: expected at most {MOST_WORKERS} processes, got {num_workers}")
        if max_corrupt_images < 0:
            raise ValueError(f"max_corrupt_images: expected at least 0, got {max_corrupt_images}")
        self.train_transform, self.eval_transform = train_transform, eval_transform
        self.batch_size, self.num_workers, self.max_corrupt_images = batch_size, num_workers, max_corrupt_images

    def source(self, split: Split) -> ImageSource:
        """Return the images of a split and their targets."""
        raise NotImplementedError

    def groups(self) -> Sequence[int] | torch.Tensor | None:
        """Return the group of every training image if batches must not mix groups."""
        return None

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Convert uint8 images to float32 in [0, 1], on the device."""
        return batch.to_float()

    def results(self, summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the predictions of the test images in the format that the benchmark of the data set expects."""
        return summaries

    def train_dataset(self) -> ImageDataset:
        return ImageDataset(self.source("train"), self.train_transform, self.max_corrupt_images)

    def val_dataset(self) -> ImageDataset:
        return ImageDataset(self.source("val"), self.eval_transform)

    def test_dataset(self) -> ImageDataset:
        return ImageDataset(self.source("test"), self.eval_transform)

    def predict_dataset(self) -> ImageDataset:
        """Return the test images without their targets."""
        return ImageDataset(WithoutTargets(self.source("test")), self.eval_transform)

    def train_dataloader(self) -> DataLoader[Any]:
        dataset = SeededDataset(self.train_dataset())
        trainer: Any = self.trainer
        if trainer and trainer.overfit_batches:
            return self._loader(dataset, self.collate)  # the same batches in the same order in every epoch
        sampler = self._sampler(dataset)
        # Batch norm cannot normalize a single image.
        drop_last = len(sampler) % self.batch_size == 1 and len(sampler) > 1
        return self._loader(dataset, self.collate, sampler=sampler, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._eval_loader(self.val_dataset(), self.collate)

    def test_dataloader(self) -> DataLoader[Any]:
        return self._eval_loader(self.test_dataset(), self.collate)

    def predict_dataloader(self) -> DataLoader[Any]:
        return self._eval_loader(self.predict_dataset(), PredictionBatch.collate)

    def _sampler(self, dataset: Dataset[Any]) -> EpochSampler:
        replicas, rank, epoch, skip = 1, 0, 0, 0
        if self.trainer:
            replicas, rank = self.trainer.world_size, self.trainer.global_rank
            epoch, batches = _progress(self.trainer)
            skip = batches * self.batch_size
        groups = self.groups()
        sampler = (
            EpochSampler(dataset, replicas, rank, skip)
            if groups is None
            else GroupedSampler(dataset, groups, self.batch_size, replicas, rank, skip)
        )
        # Lightning also sets the epoch, but only after workers have started to load the first batches.
        sampler.set_epoch(epoch)
        return sampler

    def _eval_loader(self, dataset: ImageDataset, collate: Callable[[Sequence[Any]], Any]) -> DataLoader[Any]:
        trainer: Any = self.trainer
        if not trainer or trainer.world_size == 1 or trainer.overfit_batches:
            return self._loader(dataset, collate)
        if len(dataset) < trainer.world_size:
            raise ValueError(
                f"devices: expected at most one process for each of {len(dataset)} images, got {trainer.world_size}"
            )
        # Lightning would repeat images until all processes have the same number, and count them twice.
        sampler = UnrepeatedDistributedSampler(dataset, trainer.world_size, trainer.global_rank, shuffle=False)
        return self._loader(dataset, collate, sampler=sampler)

    def _loader(self, dataset: Dataset[Any], collate: Callable[[Sequence[Any]], Any], **kwargs: Any) -> DataLoader[Any]:
        num_workers = default_workers(self.trainer) if self.num_workers is None else self.num_workers
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # a separate generator: loading must not change the random numbers of dropout
            collate_fn=collate,
            **kwargs,
        )


class PredictionDataModule(DataModule):
    """Image files for prediction.

    Args:
        paths: paths of files and of folders with images.
        eval_transform: transform of the task.
        batch_size: images per step.
    """

    def __init__(self, paths: Sequence[str | Path], eval_transform: EvalTransform, batch_size: int) -> None:
        super().__init__(eval_transform, eval_transform, batch_size, num_workers=0)
        self.files = ImageFiles(paths, eval_transform.channels)

    def source(self, split: Split) -> ImageFiles:
        return self.files


class ResumableLoader(DataLoader[Any]):
    """A data loader that supports resuming in the middle of an epoch.

    The sampler skips the finished batches, so the loader has no state. Lightning requires the two methods.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""


def default_workers(trainer: Any = None) -> int:
    """Return the number of workers of each training process: an equal share of the usable cores, at most 8."""
    if task := os.environ.get("SLURM_CPUS_PER_TASK"):  # one task is one training process
        return min(8, int(task))
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, usable // (trainer.num_devices if trainer else 1)))


def _progress(trainer: Any) -> tuple[int, int]:
    """Return the epoch in which a run starts or resumes, and its number of finished batches."""
    epoch, batches = trainer.fit_loop.epoch_progress.current.processed, trainer.fit_loop.epoch_loop.batch_progress
    if not batches.is_last_batch:
        return epoch, batches.current.ready
    # A checkpoint may have been saved after the last batch but before the epoch was counted as finished.
    return epoch + (batches.current.completed < batches.current.ready), 0
