"""Samplers. The order of an epoch and the random transforms depend on seed, epoch and index only."""

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
    """Return the seed of the run. Lightning's `seed_everything` also sets it for worker processes."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


class SeededDataset(Dataset[Any]):
    """A data set whose random transforms depend on seed, epoch and index only.

    Results therefore do not depend on the number of workers, and a resumed run equals an uninterrupted one.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, place: tuple[int, int] | int) -> Any:
        """Return the example of (epoch, index). An index alone refers to epoch 0."""
        epoch, index = place if isinstance(place, tuple) else (0, place)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(hash((run_seed(), epoch, index)))
            return self.dataset[index]


class EpochSampler(DistributedSampler[int]):
    """Yield (epoch, index) in a random order that depends on seed and epoch. Each process gets an equal share.

    Args:
        dataset: data set to sample from.
        replicas, rank: number of processes, and index of this process.
        skip: number of indices to skip in the first epoch, for resuming in the middle of an epoch.
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
    """Sampler whose batches each contain images of one group, such as upright or wide images.

    Each group is padded with its own images to full batches for all processes, as in the samplers of mmdet.

    Args:
        dataset, replicas, rank, skip: see `EpochSampler`.
        groups: group of every index.
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
