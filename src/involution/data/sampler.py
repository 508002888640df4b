"""The order of an epoch. Only seed, epoch and index decide it, and what the transforms draw."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch.utils.data import Dataset, DistributedSampler

SPLIT_SEED = 0
"""Seed of held-out images. It is fixed, so that runs of different seeds are evaluated on the same images."""


def run_seed() -> int:
    """Return the seed of the run, which Lightning's `seed_everything` leaves for worker processes too."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


class SeededDataset(Dataset[Any]):
    """A data set whose random transforms depend on seed, epoch and index alone.

    A run therefore does not depend on the number of workers, and a resumed run equals an uninterrupted one.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, place: tuple[int, int] | int) -> Any:
        """Return an example of (epoch, index), or of an index in epoch 0."""
        epoch, index = place if isinstance(place, tuple) else (0, place)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(hash((run_seed(), epoch, index)))
            return self.dataset[index]


class EpochSampler(DistributedSampler[int]):
    """Yield (epoch, index) in an order drawn from seed and epoch; every process gets its share.

    Args:
        dataset: of the indices.
        replicas, rank: number of processes, and which one this is.
        skip: how many of its indices the first epoch leaves out; a run resumes with it in the middle of an epoch.
    """

    def __init__(self, dataset: Dataset[Any], replicas: int = 1, rank: int = 0, skip: int = 0) -> None:
        super().__init__(dataset, replicas, rank, shuffle=True, seed=run_seed())
        self.skip = skip

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        skip, self.skip = self.skip, 0
        return ((self.epoch, index) for index in islice(self.order(), skip, None))

    def order(self) -> Iterator[int]:
        """Return the indices of this process."""
        return super().__iter__()


class GroupedSampler(EpochSampler):
    """The order in which every batch comes from one group of images, such as upright or wide ones.

    Each group is padded with images of its own to full batches for all processes, as by the samplers of mmdet.

    Args:
        dataset, replicas, rank, skip: of `EpochSampler`.
        groups: of every index.
        batch_size: images per step and process.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        groups: Sequence[int] | torch.Tensor,
        batch_size: int,
        replicas: int = 1,
        rank: int = 0,
        skip: int = 0,
    ) -> None:
        super().__init__(dataset, replicas, rank, skip)
        self.groups, self.batch_size = torch.as_tensor(groups), batch_size
        step = batch_size * replicas
        self.total_size = sum(-(-count // step) * step for count in self.groups.unique(return_counts=True)[1].tolist())
        self.num_samples = self.total_size // replicas

    def order(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        step = self.batch_size * self.num_replicas
        steps: list[torch.Tensor] = []
        for group in self.groups.unique():
            members = (self.groups == group).nonzero()[:, 0]
            members = members[torch.randperm(len(members), generator=generator)]
            full = -(-len(members) // step) * step
            steps += members.repeat(-(-full // len(members)))[:full].split(step)
        for number in torch.randperm(len(steps), generator=generator).tolist():
            yield from steps[number].view(self.num_replicas, self.batch_size)[self.rank].tolist()
