"""One forward pass or one training step of a network, in one regime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring.shapes import images
from benchmarks.measuring.timing import Work

MODES = {"eager": "eager", "compiled": "torch.compile", "graph": "CUDA graph of the eager network"}
FROZEN = {"freezing": True}
"""Option of Inductor on CPU: the weights are constants, which it lays out for the instruction set when it compiles."""


@dataclass(frozen=True)
class Case:
    """The regime of a comparison of networks."""

    batch: int
    dtype: str
    mode: str
    task: str
    size: int = 224

    def __str__(self) -> str:
        return f"{self.task}, {self.mode}, {self.dtype}, batch {self.batch}"

    def row(self) -> dict[str, Any]:
        """Return the columns of a record."""
        return {"task": self.task, "mode": self.mode, "dtype": self.dtype, "batch": self.batch, "size_px": self.size}

    def seconds(self, device: torch.device) -> float:
        """Return the approximate time to set up and measure one network."""
        if device.type == "cuda":
            compiling = {"eager": 0, "graph": 1, "compiled": 25 if self.task == "inference" else 50}[self.mode]
            return compiling + 1.5 + 0.008 * self.batch * (3 if self.task == "training" else 1)
        return {"eager": 0, "compiled": 15}[self.mode] + 2 + 0.3 * self.batch * (3 if self.task == "training" else 1)


def work(model: nn.Module, case: Case, device: torch.device, dry_run: bool = False) -> Work:
    """Return the function to time: one forward pass, or one step of SGD with momentum. Images are channels last.

    Inference runs the model in the dtype of the case. Training has float32 weights, and PyTorch's autocast for 16-bit
    dtypes. Compiled inference on CPU has frozen weights.
    """
    dtype = getattr(torch, case.dtype)
    x = images(case.batch, 3, case.size, device=device)
    run: Callable[[Tensor], Tensor] = model
    if case.mode == "compiled":
        options = FROZEN if device.type == "cpu" and case.task == "inference" else None
        settings = {"backend": "eager"} if dry_run else {"options": options}
        run = torch.compile(model, fullgraph=True, dynamic=False, **settings)
    step = _inference(run, x.to(dtype)) if case.task == "inference" else _training(model, run, x, dtype)
    return _graph(step) if case.mode == "graph" and device.type == "cuda" else step


def _inference(run: Callable[[Tensor], Tensor], x: Tensor) -> Work:
    def forward() -> Tensor:
        with torch.no_grad():
            return run(x)

    return forward


def _training(model: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype) -> Work:
    model.train()
    labels = torch.randint(getattr(model, "num_classes", 1000), (len(x),), device=x.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
            loss = F.cross_entropy(run(x), labels)
        loss.backward()
        optimizer.step()

    return step


def _graph(step: Work) -> Work:
    """Record a step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
