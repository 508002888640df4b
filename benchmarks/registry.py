"""The benchmarks: names, questions, and the code that the figures depend on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # importing torch takes longer than listing the names
    from benchmarks.measuring.options import Measured, Options

SRC = "src/involution"
OPERATOR = (f"{SRC}/ops",)
LAYER = (*OPERATOR, *(f"{SRC}/layers/{name}.py" for name in ("involution", "norm", "span")))
FAMILY = (*OPERATOR, f"{SRC}/family")
ATTENTION = (*OPERATOR, f"{SRC}/layers/attention")
NETWORKS = (
    *LAYER,
    f"{SRC}/models/rednet.py",
    f"{SRC}/models/skeleton",
    f"{SRC}/models/inference.py",
    f"{SRC}/models/fused.py",
)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: the argument of `run`.
        question: question that it answers, in one line.
        module: module whose `run(options)` runs the benchmark.
        measures: files and folders, besides the module, whose commits make a record outdated.
        folder: folder of the records, below results/measured.
        devices: devices that it can run on.
    """

    name: str
    question: str
    module: str
    measures: tuple[str, ...]
    folder: str
    devices: tuple[str, ...] = ("cpu",)

    def run(self, options: Options) -> Measured | Iterator[Measured]:
        """Run the benchmark; one that takes hours gives each of its records at once."""
        return cast("Measured", import_module(self.module).run(options))

    @property
    def source(self) -> str:
        """Path of the module."""
        return self.module.replace(".", "/") + ".py"


BOTH = ("cpu", "cuda")
LEARNING = (f"{SRC}/models", f"{SRC}/layers", f"{SRC}/tasks", f"{SRC}/data")


def _speed(name: str, question: str, measures: tuple[str, ...], devices: tuple[str, ...] = BOTH) -> Benchmark:
    return Benchmark(name, question, f"benchmarks.speed.{name.replace('-', '_')}", measures, "speed", devices)


SPEED = (
    _speed("operator", "How fast are the operators, beside unfold?", OPERATOR),
    _speed("layer", "How fast is Involution2d, beside the 3x3 convolution?", LAYER),
    _speed("networks", "How fast do networks infer, eager and compiled?", NETWORKS),
    Benchmark(
        "training",
        "How long does a training step take, and how much memory?",
        "benchmarks.training.step",
        NETWORKS,
        "speed",
        BOTH,
    ),
    _speed("table2", "How fast are the networks of the paper's Table 2?", NETWORKS),
    _speed("precision", "How fast and how exact is bfloat16?", NETWORKS, ("cpu",)),
    _speed("scaling", "How does time depend on threads, batch and image size?", NETWORKS, ("cpu",)),
    _speed("family", "How fast is the operator under other papers' names, beside their code?", FAMILY, ("cpu",)),
    _speed("local-attention", "How fast is local attention, beside unfold?", ATTENTION, ("cpu",)),
)
OTHERS = (
    Benchmark(
        "against",
        "Are the operators, the layer and RedNet-50 as fast as those of another checkout?",
        "benchmarks.speed.against",
        NETWORKS,
        "speed",
    ),
    Benchmark(
        "division",
        "How evenly is the work divided among many threads?",
        "benchmarks.deployment.division",
        NETWORKS,
        "deployment",
    ),
    Benchmark(
        "export",
        "How fast does RedNet-50 run in every format of `involution export`?",
        "benchmarks.deployment.export",
        (*NETWORKS, f"{SRC}/models/export.py", f"{SRC}/models/onnx_translation.py"),
        "speed",
    ),
    Benchmark(
        "onnx",
        "Is one ONNX file right, and how fast is it, at every batch and size?",
        "benchmarks.deployment.onnx",
        (*NETWORKS, f"{SRC}/models/export.py", f"{SRC}/models/onnx_translation.py"),
        "speed",
    ),
    Benchmark(
        "int8",
        "How fast and how exact is RedNet-26 after quantization to int8?",
        "benchmarks.deployment.int8",
        NETWORKS,
        "speed",
    ),
    Benchmark(
        "startup",
        "How long does a fresh process take to its first answer, prepared and compiled?",
        "benchmarks.deployment.startup",
        NETWORKS,
        "speed",
    ),
    Benchmark(
        "training-parts",
        "Where does the time of a training step go, and what would it take at least?",
        "benchmarks.training.parts",
        NETWORKS,
        "speed",
    ),
    Benchmark(
        "readme",
        "How long do README's commands take in a new clone?",
        "benchmarks.deployment.readme",
        ("README.md", "Makefile", "setup.py", "pyproject.toml"),
        "deployment",
    ),
    Benchmark(
        "blocks",
        "Where is the time of the prepared RedNet-50?",
        "benchmarks.deployment.blocks",
        NETWORKS,
        "speed",
    ),
    Benchmark(
        "operator-cases",
        "Are the compiled operators right on ten thousand drawn cases?",
        "benchmarks.correctness.operator_cases",
        OPERATOR,
        "correctness",
    ),
    Benchmark(
        "block-cases",
        "Are the one-pass blocks and stems right on a thousand drawn cases?",
        "benchmarks.correctness.block_cases",
        (*OPERATOR, f"{SRC}/models/fused.py", "benchmarks/correctness/drawn_blocks.py"),
        "correctness",
    ),
    Benchmark(
        "segmentation-memory",
        "How much memory does segmenting a large image take?",
        "benchmarks.memory.segmentation",
        (*OPERATOR, f"{SRC}/layers", f"{SRC}/models", f"{SRC}/tasks/segmentation.py"),
        "memory",
    ),
    Benchmark(
        "complexity",
        "How many parameters and multiply-adds has every network?",
        "benchmarks.complexity.count",
        (f"{SRC}/models", f"{SRC}/layers", f"{SRC}/ops/schema.py"),
        "complexity",
    ),
    Benchmark(
        "gpu-code",
        "What does the machine code of the Triton programs cost?",
        "benchmarks.gpu.code",
        (f"{SRC}/ops/cuda", "benchmarks/gpu/matrix.py"),
        "gpu",
    ),
    Benchmark(
        "gpu-values",
        "Are the operators right on a GPU, on drawn cases?",
        "benchmarks.gpu.values",
        OPERATOR,
        "gpu",
        ("cuda",),
    ),
    Benchmark("gpu-tests", "Do the tests pass on a GPU?", "benchmarks.gpu.tests", OPERATOR, "gpu", ("cuda",)),
    Benchmark(
        "gpu-tensor-cores",
        "What does the machine code of the program for tensor cores cost?",
        "benchmarks.gpu.tensor_cores",
        (f"{SRC}/ops/cuda/band",),
        "gpu",
    ),
    Benchmark(
        "accuracy", "Which accuracy does a recipe reach?", "benchmarks.accuracy.recipe", LEARNING, "accuracy", BOTH
    ),
    Benchmark(
        "training-loop",
        "How fast is the training loop, beside a bare loop and the loader alone?",
        "benchmarks.training.loop",
        (*LEARNING, f"{SRC}/cli/lightning/progress.py"),
        "training",
    ),
    Benchmark(
        "processes",
        "Do two processes reach the accuracy of one, and in which time?",
        "benchmarks.training.processes",
        LEARNING,
        "training",
    ),
    Benchmark(
        "recipe-steps",
        "Do the first steps of a recipe lower the loss, and is the memory constant?",
        "benchmarks.training.recipe_steps",
        LEARNING,
        "training",
    ),
    Benchmark(
        "study",
        "Which accuracy do networks of equal size reach under one recipe?",
        "benchmarks.study.study",
        (*LEARNING, "benchmarks/study"),
        "study",
        BOTH,
    ),
    Benchmark(
        "study-costs",
        "How large and how fast are the networks of the study?",
        "benchmarks.study.costs",
        (*NETWORKS, f"{SRC}/models/comparison", f"{SRC}/layers/attention"),
        "study",
        BOTH,
    ),
    Benchmark(
        "pretrained",
        "Which accuracy do the weights of the package have?",
        "benchmarks.study.pretrained",
        (*NETWORKS, f"{SRC}/weights"),
        "study",
        BOTH,
    ),
    Benchmark(
        "pennfudan",
        "Which average precision does a run of configs/pennfudan.yaml reach?",
        "benchmarks.accuracy.pennfudan",
        LEARNING,
        "accuracy",
    ),
    Benchmark(
        "denoising",
        "How well do predicted kernels remove noise, beside a Gaussian filter?",
        "benchmarks.accuracy.denoising",
        ("demo/denoise.py", *FAMILY),
        "accuracy",
    ),
    Benchmark(
        "camvid",
        "Which mean IoU do runs of configs/camvid.yaml reach?",
        "benchmarks.accuracy.camvid",
        LEARNING,
        "accuracy",
    ),
)
BENCHMARKS = {benchmark.name: benchmark for benchmark in (*SPEED, *OTHERS)}
GROUPS = {
    "speed": tuple(benchmark.name for benchmark in SPEED),
    "gpu-day": ("gpu-values", "gpu-tests", "operator", "layer", "networks", "training"),
}


def find(names: list[str], device: str) -> list[Benchmark]:
    """Return the benchmarks with these names. A group is replaced by its members that run on `device`.

    Raises:
        ValueError: a name is unknown, or the benchmark does not run on the device.
    """
    found: list[Benchmark] = []
    for name in names:
        if name not in BENCHMARKS and name not in GROUPS:
            raise ValueError(f"name: expected one of {', '.join([*GROUPS, *BENCHMARKS])}, got {name!r}")
        members = [BENCHMARKS[member] for member in GROUPS.get(name, (name,))]
        fitting = [member for member in members if device in member.devices]
        if not fitting:
            raise ValueError(f"--device: expected one of {', '.join(members[0].devices)} for {name}, got {device!r}")
        found += fitting
    return found
