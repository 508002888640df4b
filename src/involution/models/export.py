"""Export a network for another runtime, and compare the outputs of that runtime with PyTorch's.

A classifier gives its logits; a segmentor its scores; of a detector, the backbone with the feature pyramid is exported,
since proposals and suppression are left to the application.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection

FORMATS = ("onnx", "pt2", "torchscript")
DYNAMIC = ("batch", "size")
OPSET = 18


class Flat(nn.Module):
    """A network as a function of a batch of normalized images to a tensor, or to a tuple of feature maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.backbone if isinstance(network, detection.FasterRCNN | detection.RetinaNet) else network

    def forward(self, images: Tensor) -> Any:
        outputs = self.network(images)
        if isinstance(outputs, Tensor):
            return outputs
        return outputs["out"] if "out" in outputs else tuple(outputs.values())


def export(
    network: nn.Module, format: str, out: Path, size: Sequence[int] = (224, 224), dynamic: Sequence[str] = ()
) -> float:
    """Write a network to a file and return the largest absolute difference from PyTorch.

    Args:
        network: in evaluation; its dtype is that of the result.
        format: "onnx"; "pt2", compiled by AOTInductor for this kind of processor; or "torchscript".
        out: the file.
        size: height and width of the image that the network is exported and compared with. With dynamic sizes, another
            one is compared as well.
        dynamic: "batch" and "size" may change at run time.

    Raises:
        ValueError: there is no such format or dynamic dimension, or the format lacks the dtype.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    if unknown := sorted(set(dynamic) - set(DYNAMIC)):
        raise ValueError(f"dynamic: expected any of {', '.join(DYNAMIC)}, got {unknown[0]!r}")
    flat = Flat(network).eval()
    dtype = next(network.parameters()).dtype
    if format == "onnx" and dtype == torch.bfloat16:
        raise ValueError("dtype: expected float16, float32 or float64, which onnxruntime computes on CPU, got bfloat16")
    channels = getattr(network, "in_chans", 3)
    example = torch.rand(2 if "batch" in dynamic else 1, channels, *size, dtype=dtype)
    with torch.no_grad():
        compute = {"onnx": _onnx, "pt2": _pt2, "torchscript": _torchscript}[format](flat, example, out, dynamic)
        compared = [example]
        if "size" in dynamic:
            compared.append(torch.rand(len(example), channels, size[0] + 1, size[1] + 33, dtype=dtype))
        if "batch" in dynamic:
            compared.append(torch.rand(5, channels, *size, dtype=dtype))
        return max(_difference(flat(images), compute(images)) for images in compared)


def _shapes(dynamic: Sequence[str]) -> Any:
    free = torch.export.Dim.DYNAMIC
    batch = {0: free} if "batch" in dynamic else {}
    sizes = {2: free, 3: free} if "size" in dynamic else {}
    return ({**batch, **sizes},)


def _onnx(flat: nn.Module, example: Tensor, out: Path, dynamic: Sequence[str]) -> Callable[[Tensor], Any]:
    import onnxruntime

    from involution.models.onnx_translation import TRANSLATIONS

    program = torch.onnx.export(
        flat,
        (example,),
        dynamo=True,
        verbose=False,
        optimize=False,  # the runtime does it, in a fraction of the time
        opset_version=OPSET,
        input_names=["images"],
        dynamic_shapes=_shapes(dynamic),
        custom_translation_table=TRANSLATIONS,
    )
    assert program is not None
    program.save(out)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(y) for y in session.run(None, {"images": images.numpy()})]


def _pt2(flat: nn.Module, example: Tensor, out: Path, dynamic: Sequence[str]) -> Callable[[Tensor], Any]:
    program = torch.export.export(flat, (example,), dynamic_shapes=_shapes(dynamic), strict=False)
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(out))
    return torch._inductor.aoti_load_package(path)


def _torchscript(flat: nn.Module, example: Tensor, out: Path, dynamic: Sequence[str]) -> Callable[[Tensor], Any]:
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):  # PyTorch advises torch.export, which "pt2" is
            warnings.filterwarnings("ignore", message="`torch.jit", category=category)
        script = torch.jit.freeze(torch.jit.trace(flat, example, check_trace=False).eval())
        script.save(str(out))
        return torch.jit.load(str(out))


def _difference(expected: Any, got: Any) -> float:
    expected, got = ([y] if isinstance(y, Tensor) else list(y) for y in (expected, got))
    return max((a.double() - b.double()).abs().max().item() for a, b in zip(expected, got, strict=True))
