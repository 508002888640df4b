"""Sharding of parameters, gradients and optimizer states over processes: PyTorch's FSDP2."""

from __future__ import annotations

import re
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

BLOCK = re.compile(r"(?:.*\.)?layer\d+\.\d+")
"""Names of the residual blocks of a backbone, each of which is gathered when it computes."""


class FullyShardedStrategy(ModelParallelStrategy):
    """`--trainer.strategy fsdp2`: shard every residual block, and what is left of the network as one more unit.

    All processes hold an equal part. Checkpoints are single files with the whole weights, as those of other strategies,
    and can be continued with any number of processes. Initial weights are not exchanged: they must be from a file or
    from the same seed.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"tensor_parallel_size": 1, "save_distributed_checkpoint": False, **kwargs})

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


StrategyRegistry.register("fsdp2", FullyShardedStrategy)


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Shard the parameters of a network, in place. They become contiguous, because FSDP takes no other format."""
    network.to(memory_format=torch.contiguous_format)
    for name, module in network.named_modules():
        if BLOCK.fullmatch(name):
            fully_shard(module, mesh=mesh)
    fully_shard(network, mesh=mesh)
