"""The networks in the comparison, one per row of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import nn

import involution.models  # registers the networks
from benchmarks.measuring.shapes import FORMATS
from benchmarks.speed.rivals import with_stored_kernels, with_unfold


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        label: name in the record and in the tables.
        model: name in timm's registry, for which the multiply-adds are counted.
        change: function applied to the network after it is built and before its dtype is set.
        memory_format: memory format of the weights, a key of `FORMATS`.
        tensor_cores: whether the program for tensor cores is turned on, on GPU.
        compiles: whether the network is compiled where the others are.
    """

    label: str
    model: str
    change: Callable[[nn.Module], nn.Module] = lambda model: model
    memory_format: str = "channels last"
    tensor_cores: bool = False
    compiles: bool = True

    def build(self, dtype: str = "float32", device: torch.device | str = "cpu", **arguments: Any) -> nn.Module:
        """Build the network in eval mode with random weights from a fixed seed."""
        torch.manual_seed(0)
        model = self.change(timm.create_model(self.model, **arguments).eval())
        return model.to(device, getattr(torch, dtype)).to(memory_format=FORMATS[self.memory_format])


ENTRIES = {
    entry.label: entry
    for entry in (
        *(
            Entry(name, name)
            for name in (
                "resnet26",
                "resnet50",
                "resnet101",
                "rednet26",
                "rednet38",
                "rednet50",
                "rednet101",
                "convnext_nano",
                "regnetx_032",
                "mobilenetv2_140",
            )
        ),
        Entry("rednet50, prepared", "rednet50", involution.models.prepare),
        Entry("rednet50, prepared, not compiled", "rednet50", involution.models.prepare, compiles=False),
        Entry("rednet50, tensor cores", "rednet50", tensor_cores=True),
        Entry("rednet50, stored kernels", "rednet50", with_stored_kernels),
        Entry("rednet50, unfold, channels last", "rednet50", with_unfold),
        Entry("rednet50, unfold, NCHW", "rednet50", with_unfold, "NCHW"),
    )
}
