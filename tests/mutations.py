"""Mutation tests: change the code, one line at a time, and check that a test fails.

    python tests/mutations.py [NAME ...]

Each mutation replaces a text in a copy of the sources and runs the tests that guard it. Prints a Markdown table; the
exit status is 1 if a mutation survives. C++ is compiled without optimization, for one instruction set only, so that a
mutation takes about a minute.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from involution.ops.signatures import MACRO

ROOT = Path(__file__).parents[1]
CPU = Path("src/involution/ops/cpu")
INSTRUCTION_SET = "avx512"


@dataclass(frozen=True)
class Mutation:
    """Replace `old` by `new` in `file`, and run `tests`, arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: str


LOOPS, BLOCK, CUDA = f"{CPU}/loops", f"{CPU}/bottleneck", "src/involution/ops/cuda"
OPS, TASKS = "src/involution/ops", "src/involution/tasks"
ON_CPU = "tests/ops/test_cpu.py"
DATA, SETTINGS = "src/involution/data", "tests/test_published_settings.py"

MUTATIONS = [
    # C++
    Mutation("refusals removed", f"{CPU}/tensors.h", "  if (condition) return;", "  return;", f"{ON_CPU} -k refused"),
    Mutation(
        "bfloat16 truncated",
        f"{LOOPS}/elements.h",
        "(bits + 0x7fff + (bits >> 16 & 1)) >> 16",
        "bits >> 16",
        f"{ON_CPU} -k rounded",
    ),
    Mutation(
        "ties of bfloat16 away from zero",
        f"{LOOPS}/elements.h",
        "(bits + 0x7fff + (bits >> 16 & 1)) >> 16",
        "(bits + 0x8000) >> 16",
        f"{ON_CPU} -k rounded",
    ),
    Mutation(
        "NaN rule of bfloat16 dropped",
        f"{LOOPS}/elements.h",
        "value != value ? 0x7fc0 : rounded",
        "rounded",
        f"{ON_CPU} -k narrow",
    ),
    Mutation(
        "two shares of the weight gradient added",
        f"{LOOPS}/spanned_backward.h",
        "for (int64_t share = 1; share < shares; ++share)",
        "for (int64_t share = 1; share < shares && share < 2; ++share)",
        f"{ON_CPU} -k threads",
    ),
    Mutation(
        "two parts of the reduced features' gradient added",
        f"{LOOPS}/spanned_backward.h",
        "for (int64_t p = 1; p < division.parts; ++p)",
        "for (int64_t p = 1; p < division.parts && p < 2; ++p)",
        f"{ON_CPU} -k parts",
    ),
    Mutation(
        "guard against reading past a tensor removed",
        f"{LOOPS}/rows.h",
        "return from + (L * parts - 1) * sc + p + L <= end;",
        "return p >= 0 && parts > 0 && from != end;",
        f"{ON_CPU} -k beyond",
    ),
    Mutation(
        "rows that no window touches not written",
        f"{LOOPS}/buffers.h",
        "if (!written.data[h - first])",
        "if (false)",
        f"{ON_CPU} tests/ops/test_operators.py -k 'threads or drawn'",
    ),
    Mutation(
        "vertical dilation ignored",
        f"{LOOPS}/buffers.h",
        "h = i * w.stride_h - w.pad_h + u * w.dilation_h;\n      rows.data[u] = memory.data",
        "h = i * w.stride_h - w.pad_h + u;\n      rows.data[u] = memory.data",
        f"{ON_CPU} -k threads",
    ),
    Mutation(
        "failed allocation ignored by the caller",
        f"{CPU}/binding.cpp",
        "if (missing) throw",
        "if (false) throw",
        f"{ON_CPU} -k memory",
    ),
    Mutation(
        "gradients of an empty image not zeroed",
        f"{CPU}/binding.cpp",
        "torch::stable::zero_(*gradient);",
        "(void)gradient;",
        f"{ON_CPU} -k empty",
    ),
    Mutation(
        "output mask of the weight ignored",
        f"{CPU}/binding.cpp",
        "Tensor grad_weight = output_mask[2] ? ",
        "Tensor grad_weight = true ? ",
        "tests/ops/test_operators.py -k wanted",
    ),
    # Python
    Mutation(
        "second term of the tangent dropped",
        f"{OPS}/autograd.py",
        "for pair in ((da, b), (a, db)) if",
        "for pair in ((da, b),) if",
        "tests/ops/test_function_transforms.py",
    ),
    Mutation(
        "bias left out of the spanned tangent",
        f"{OPS}/autograd.py",
        "dweight, dbias, *numbers",
        "dweight, None, *numbers",
        "tests/ops/test_function_transforms.py",
    ),
    Mutation(
        "vmap over channels puts the samples at another dimension",
        f"{OPS}/vmap.py",
        "return y.unflatten(1, mapped.shape[1:3]), at",
        "return y.unflatten(1, mapped.shape[1:3]), 1",
        "tests/ops/test_function_transforms.py",
    ),
    Mutation(
        "FLOPs of the spanned backward",
        f"{OPS}/schema.py",
        "spans = for_x + for_reduced + for_weight",
        "spans = for_reduced + for_weight",
        "tests/ops/test_compiler.py -k counted",
    ),
    Mutation(
        "autocast casts float64",
        f"{OPS}/schema.py",
        "value.dtype != torch.float64",
        "True",
        "tests/ops -k autocast",
    ),
    Mutation(
        "identity in place of the shortcut's stride",
        f"{OPS}/fused/bottleneck.py",
        "x[:, :, :: stride[0], :: stride[1]]",
        "x[:, :, :: stride[0], 1 :: stride[1]]",
        "tests/ops -k bottleneck",
    ),
    # Ranks, layers and fused blocks
    Mutation(
        "a block writes to the memory of a map that is returned",
        "src/involution/models/inference.py",
        "len(s.users) == 1",
        "len(s.users) >= 1",
        "tests/models/test_inference.py -k returned",
    ),
    Mutation(
        "dilation ignored in one dimension",
        f"{OPS}/ranks.py",
        "return [1, stride], [0, padding], [1, dilation]",
        "return [1, stride], [0, padding], [1, 1]",
        "tests/ops/test_ranks.py",
    ),
    Mutation(
        "depth's dilation ignored in three dimensions",
        f"{OPS}/ranks.py",
        "seen = x[:, :, t * dilation : t * dilation + reach : stride]",
        "seen = x[:, :, t : t + reach : stride]",
        "tests/ops/test_ranks.py",
    ),
    Mutation(
        "a replaced or hooked span counts as plain",
        "src/involution/layers/span.py",
        "and type(conv) in CONVOLUTIONS and not hooked(self, conv)",
        "and hasattr(conv, 'weight')",
        "tests/layers/test_span.py",
    ),
    # Triton
    Mutation(
        "products always tf32",
        f"{CUDA}/precision.py",
        'else "tf32x3"',
        'else "tf32"',
        "tests/ops/test_cuda.py -k exact",
    ),
    Mutation(
        "bounds of the kernels' loads loosened, forward",
        f"{CUDA}/source.py",
        "rows[0], mask=rows[1], other=0)",
        "rows[0], mask=rows[1] | True, other=0)",
        "tests/ops/test_cuda_values.py",
    ),
    Mutation(
        "bounds of the kernels' loads loosened, gradient of x",
        f"{CUDA}/source.py",
        "(v // plan.DW).to(plan.INDEX) * s[3]), mask=exist, other=0)",
        "(v // plan.DW).to(plan.INDEX) * s[3]), mask=exist | True, other=0)",
        "tests/ops/test_cuda_values.py",
    ),
    Mutation(
        "columns outside the image read",
        f"{CUDA}/forward.py",
        "mask=lanes & inside, other=0)",
        "mask=lanes, other=0)",
        "tests/ops/test_cuda_values.py",
    ),
    Mutation(
        "distances always in 32 bits",
        f"{CUDA}/launch.py",
        "< 2**30 else tl.int64",
        "< 2**30 else tl.int32",
        "tests/ops/test_cuda_values.py -k bits",
    ),
    # Tasks
    Mutation(
        "a step of the schedule rounded down",
        f"{TASKS}/task.py",
        "math.ceil(batches / trainer.accumulate_grad_batches)",
        "math.floor(batches / trainer.accumulate_grad_batches)",
        "tests/tasks -m 'not slow'",
    ),
    Mutation(
        "one loss of a detector left out",
        f"{TASKS}/detection.py",
        "torch.stack(list(losses.values())).sum()",
        "torch.stack(list(losses.values())[1:]).sum()",
        "tests/tasks/test_detection.py",
    ),
    # Recipes: settings of the paper
    Mutation(
        "ten times the learning rate",
        "configs/imagenet.yaml",
        "lr: 0.8, momentum",
        "lr: 8.0, momentum",
        f"{SETTINGS} -k file",
    ),
    Mutation(
        "no momentum",
        "configs/coco_mask_rcnn.yaml",
        "momentum: 0.9",
        "momentum: 0.0",
        f"{SETTINGS} -k file",
    ),
    Mutation(
        "the learning rate reduced too early",
        "configs/coco_retinanet.yaml",
        "epochs: [8, 11]",
        "epochs: [6, 11]",
        f"{SETTINGS} -k file",
    ),
    Mutation(
        "an auxiliary loss of five times the weight",
        "configs/cityscapes_upernet.yaml",
        "auxiliary_weight: 0.4",
        "auxiliary_weight: 5.0",
        f"{SETTINGS} -k file",
    ),
    Mutation(
        "the weight of the auxiliary loss ignored",
        f"{TASKS}/segmentation.py",
        "loss + self.auxiliary_weight * pixel_loss",
        "loss + 5 * pixel_loss",
        "tests/tasks/test_segmentation.py -k auxiliary",
    ),
    Mutation(
        "images of detectors not divided by their deviation",
        "src/involution/models/detection/detectors.py",
        'list(preprocessing.get("std", IMAGENET_DEFAULT_STD))',
        "[1.0, 1.0, 1.0]",
        f"{SETTINGS} -k statistics",
    ),
    Mutation(
        "images of classifiers not divided by their deviation",
        "src/involution/models/skeleton/registration.py",
        '"std": IMAGENET_DEFAULT_STD',
        '"std": (1.0, 1.0, 1.0)',
        f"{SETTINGS} -k statistics",
    ),
    Mutation(
        "random crops of ImageNet all of the same scale",
        f"{DATA}/transforms.py",
        "scale=(0.08, 1.0)",
        "scale=(1.0, 1.0)",
        f"{SETTINGS} -k augmentation",
    ),
    Mutation(
        "objects not flipped",
        f"{DATA}/detection/train_transform.py",
        "[v2.ClampBoundingBoxes(), v2.RandomHorizontalFlip()]",
        "[v2.ClampBoundingBoxes()]",
        f"{SETTINGS} tests/data/detection/test_coco.py -k 'augmentation or flipped'",
    ),
    Mutation(
        "crops of Cityscapes not scaled",
        f"{DATA}/segmentation/train_transform.py",
        "factor = self.scale * torch.empty(()).uniform_(*self.scales).item()",
        "factor = self.scale",
        "tests/data/segmentation -k scales",
    ),
    Mutation(
        "crops of Cityscapes not flipped",
        f"{DATA}/segmentation/train_transform.py",
        "if torch.rand(()) < self.flip:",
        "if False:",
        "tests/data/segmentation -k flipped",
    ),
    Mutation(
        "deviation of the box regression",
        "src/involution/models/detection/heads.py",
        "_normal(self.bbox_pred, 0.001)",
        "_normal(self.bbox_pred, 0.01)",
        f"{SETTINGS} -k initial",
    ),
    Mutation(
        "last norms of bottlenecks start at one",
        "src/involution/models/skeleton/trunk.py",
        "nn.init.zeros_(module.bn3.weight)",
        "nn.init.ones_(module.bn3.weight)",
        f"{SETTINGS} -k initial",
    ),
    Mutation(
        "no dropout before the scores of Semantic FPN",
        "src/involution/models/segmentation/semantic_fpn.py",
        "dropout: float = 0.1",
        "dropout: float = 0.0",
        f"{SETTINGS} -k dropout",
    ),
    Mutation(
        "dropout of UPerNet not applied",
        "src/involution/models/segmentation/upernet.py",
        "self.conv_seg(self.dropout(fused))",
        "self.conv_seg(fused)",
        "tests/tasks/test_segmentation.py -k dropped",
    ),
]


def main(names: list[str]) -> int:
    """Run the named mutations, or all; return 1 if one survives."""
    known = {mutation.name: mutation for mutation in MUTATIONS}
    if unknown := sorted(set(names) - known.keys()):
        print(f"NAME: expected some of {', '.join(known)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    survived = 0
    print("| mutation | file | noticed by |\n| --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder)
        for part in ("src", "tests", "benchmarks", "configs", "results", "pyproject.toml"):
            source = ROOT / part
            shutil.copytree(source, copy / part) if source.is_dir() else shutil.copy(source, copy / part)
        objects = Objects(copy)
        for mutation in [known[name] for name in names] or MUTATIONS:
            noticed = try_one(mutation, copy, objects)
            survived += noticed is None
            file = mutation.file.removeprefix("src/involution/")
            print(f"| {mutation.name} | `{file}` | {noticed or '**nothing**'} |", flush=True)
    return int(survived > 0)


def try_one(mutation: Mutation, copy: Path, objects: Objects) -> str | None:
    """Apply a mutation, run its tests, undo it; return the test that failed, if any."""
    path = copy / mutation.file
    original = path.read_text()
    if original.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.name}: expected its text once in {mutation.file}, got {original.count(mutation.old)}"
        )
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        if path.suffix in (".h", ".cpp"):
            objects.link(path)
        return failure(mutation, copy)
    finally:
        path.write_text(original)
        if path.suffix in (".h", ".cpp"):
            shutil.copy(ROOT / CPU / "_kernels.so", copy / CPU / "_kernels.so")


def failure(mutation: Mutation, copy: Path) -> str | None:
    """Run the tests of a mutation; return the first that failed, or None."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
    command = [sys.executable, "-m", "pytest", *options, *shlex.split(mutation.tests)]
    environment = {**os.environ, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    if done.returncode not in (1, 2) and done.returncode >= 0:
        raise RuntimeError(f"{mutation.name}: {shlex.join(command)}\n{done.stdout}{done.stderr}")
    failed = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return f"`{failed[0].split()[1]}`" if failed else "the process died"


class Objects:
    """The compiled sources of a copy; only those that a mutation touches are compiled again."""

    def __init__(self, copy: Path) -> None:
        self.copy, self.folder = copy, copy / "objects"
        self.built: dict[Path, Path] = {}

    def link(self, mutated: Path) -> None:
        """Build the library with a mutated file."""
        bindings = mutated.suffix == ".cpp" or mutated.name in ("arguments.h", "tensors.h")
        objects = []
        for source in sorted((self.copy / CPU).rglob("*.cpp")):
            touched = source == mutated or ("binding" in source.name) == bindings
            if not touched or ("binding" not in source.name and source.stem != INSTRUCTION_SET):
                if source not in self.built:
                    self.built[source] = self.compile(ROOT / source.relative_to(self.copy), source)
                objects.append(self.built[source])
            else:
                objects.append(self.compile(source, source.with_suffix(".mutated")))
        from torch.utils.cpp_extension import library_paths

        libraries = [f"-L{path}" for path in library_paths()]
        target = self.copy / CPU / "_kernels.so"
        target.unlink()
        subprocess.run(["g++", "-shared", *objects, *libraries, "-ltorch_cpu", "-o", target], check=True)

    def compile(self, source: Path, name: Path) -> Path:
        """Compile one source file."""
        from torch.utils.cpp_extension import include_paths

        self.folder.mkdir(exist_ok=True)
        target = self.folder / f"{'-'.join(name.relative_to(self.copy / CPU).parts)}.o"
        options = ["-std=c++20", "-O0", "-fPIC", "-fvisibility=hidden", "-w", f"-D{'='.join(MACRO)}"]
        folders = [f"-I{path}" for path in include_paths()]
        subprocess.run(["g++", *options, *folders, "-c", source, "-o", target], check=True)
        return target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
