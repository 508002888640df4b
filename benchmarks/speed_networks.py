"""RedNet against ResNet, forward or a training step, in one process and in turns; whatever the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from measure import Budget, Work, interleaved, peak_memory
from torch import Tensor, nn
from torch.nn import functional as F

import involution.models  # noqa: F401  (registers the networks)

MODES = ("eager", "compiled", "graph")
TASKS = ("inference", "training")


@dataclass(frozen=True)
class Case:
    """One regime that networks are compared in."""

    batch: int
    dtype: torch.dtype
    mode: str
    task: str
    size: int = 224

    def __str__(self) -> str:
        return f"{self.task} {self.mode} {str(self.dtype).removeprefix('torch.')} batch {self.batch}"

    def seconds(self) -> float:
        """Return about how long one network takes to set up and time."""
        compiling = {"eager": 0, "graph": 1, "compiled": 25 if self.task == "inference" else 50}[self.mode]
        return compiling + 1.5 + 0.008 * self.batch * (3 if self.task == "training" else 1)


def work(network: str, case: Case, device: torch.device, compiler: str = "inductor", **arguments: Any) -> Work:
    """Return what is timed: one forward pass, or one step of SGD with momentum.

    Weights and images lie channels last. Inference in a 16-bit type has weights of that type; training has weights in
    float32 and PyTorch's autocast.
    """
    torch.manual_seed(0)
    model = timm.create_model(network, **arguments).to(device, memory_format=torch.channels_last)
    images = torch.randn(case.batch, 3, case.size, case.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    if case.task == "inference":
        model, images = model.eval().to(case.dtype), images.to(case.dtype)
        step = _inference(_compiled(model, case, compiler), images)
    else:
        step = _training(model, _compiled(model, case, compiler), images, case.dtype)
    return _graph(step) if case.mode == "graph" and device.type == "cuda" else step


def _compiled(model: nn.Module, case: Case, compiler: str) -> Callable[[Tensor], Tensor]:
    return torch.compile(model, fullgraph=True, backend=compiler) if case.mode == "compiled" else model


def _inference(model: Callable[[Tensor], Tensor], images: Tensor) -> Work:
    def forward() -> Tensor:
        with torch.no_grad():
            return model(images)

    return forward


def _training(model: nn.Module, run: Callable[[Tensor], Tensor], images: Tensor, dtype: torch.dtype) -> Work:
    model.train()
    labels = torch.randint(1000, (len(images),), device=images.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
            loss = F.cross_entropy(run(images), labels)
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


def compare(
    networks: Sequence[str],
    cases: Sequence[Case],
    device: torch.device,
    budget: Budget,
    compiler: str = "inductor",
    **timing: Any,
) -> Iterator[dict[str, Any]]:
    """Yield, for every case that fits into the budget, a row per network: time, images a second, peak memory.

    Args:
        networks: names in timm's registry, timed in turns.
        cases: in the order in which they matter.
        compiler: backend of `torch.compile`.
        timing: of `measure.interleaved`.
    """
    for case in cases:
        if not budget.allows(f"{case}: {', '.join(networks)}", len(networks) * case.seconds()):
            continue
        torch.compiler.reset()
        works, memory = {}, {}
        for name in networks:
            step = work(name, case, device, compiler)
            if case.mode != "graph":
                step()
                memory[name] = peak_memory(step, device)
            works[name] = step
        for name, found in interleaved(works, device, **timing).items():
            row = {"network": name, "task": case.task, "mode": case.mode, "batch": case.batch, "size": case.size}
            row |= {"dtype": str(case.dtype).removeprefix("torch."), **found.record()}
            row |= {"images_per_s": case.batch / found.median, "peak_mib": memory.get(name)}
            yield row
        works.clear()
        if device.type == "cuda":
            torch.cuda.empty_cache()
