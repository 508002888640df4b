"""Prepare a trained network for inference."""

from __future__ import annotations

import copy

import torch
from timm.models._features import FeatureDictNet
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_leaves

from involution.layers import Involution2d
from involution.layers.span import hooked
from involution.models.fused import FusedBottleneck, FusedStem, is_fusable, is_fusable_stem
from involution.models.skeleton.stages import Stages


@torch.no_grad()
def prepare(model: nn.Module, example: Tensor | None = None, tolerance: float | None = None) -> nn.Module:
    """Return a copy of `model` that is faster in inference and gives the same outputs.

    One operator computes every bottleneck block with an involution, see `FusedBottleneck` and docs/cpu.md, and one
    the stem and its max pooling, see `FusedStem`. Elsewhere every batch norm that follows a convolution is folded into
    its weights, γ/√(σ² + ε)·W. Stems, blocks, convolutions and norms with forward hooks or parametrizations, such as
    pruning and spectral norm, are left as they are. Images and weights are laid
    out channels last, the layout that the operators are optimized for. No compiler is needed.

    Blocks of the copy write to the memory of their input: a hook that is registered on one must clone what it keeps.

    Args:
        model: any network that `torch.fx` can trace, ours and most of timm's, with outputs of any structure.
        example: images to compare the two networks on; random ones of 64x64 pixels by default.
        tolerance: largest difference allowed, relative to the largest output; by default 1e-3, and 5e-2 in the 16-bit
            types.

    Raises:
        ValueError: the outputs differ by more than `tolerance`.
    """
    parameter = next(model.parameters())
    if tolerance is None:
        tolerance = 5e-2 if parameter.dtype in (torch.bfloat16, torch.float16) else 1e-3
    if example is None:
        example = torch.rand(1, getattr(model, "in_chans", 3), 64, 64, device=parameter.device, dtype=parameter.dtype)
    training = {module: module.training for module in model.modules()}
    try:
        # First: weights that hooks compute, as in pruning, can be copied once they were computed without gradient.
        expected = tree_leaves(model.eval()(example))
        prepared = fold_batch_norms(fuse_blocks(model)).eval().to(memory_format=torch.channels_last)
    finally:
        for module, mode in training.items():
            module.training = mode
    for y, got in zip(expected, tree_leaves(prepared(example)), strict=True):
        difference = (got - y).abs().max().item() / max(y.abs().max().item(), 1e-12)
        if not difference <= tolerance:
            message = f"expected a prepared network within {tolerance} of the original, got {difference:.2e}"
            raise ValueError(f"model: {message}")
    return prepared


def fuse_blocks(model: nn.Module) -> nn.Module:
    """Return a copy of `model` in which one operator computes the stem, and one every block, where it can."""
    fused = copy.deepcopy(model)
    for parent in list(fused.modules()):
        # Neither a classifier nor timm's extractor of features returns the map between stem and pooling.
        if isinstance(parent, Stages | FeatureDictNet) and "stem" in (children := dict(parent.named_children())):
            stem, pool = children["stem"], children.get("maxpool", nn.Identity())
            if is_fusable_stem(stem, pool):
                parent._modules.update(stem=FusedStem(stem), maxpool=nn.Identity())
        for name, child in parent.named_children():
            if is_fusable(child):
                setattr(parent, name, FusedBottleneck(child))
    return fused


def fold_batch_norms(model: nn.Module) -> fx.GraphModule:
    """Return a traced copy of `model` whose convolutions carry the batch norms that follow them."""
    graph = _Tracer().trace(copied := copy.deepcopy(model))
    traced = fx.GraphModule(copied, graph)
    modules = dict(traced.named_modules())
    for node in list(graph.nodes):
        source = node.args[0] if node.op == "call_module" else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        conv, norm = modules[str(source.target)], modules[str(node.target)]
        plain = type(conv) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d) and not hooked(conv, norm)
        if plain and norm.track_running_stats:
            parent, _, name = str(source.target).rpartition(".")
            folded = fuse_conv_bn_eval(conv, norm)
            act = getattr(norm, "act", None)  # timm has norms with an activation inside
            setattr(traced.get_submodule(parent), name, nn.Sequential(folded, act) if act else folded)
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    reuse_memory(traced)
    for node in graph.find_nodes(op="placeholder"):
        if all(isinstance(modules.get(str(user.target)), FusedStem) for user in node.users):
            continue  # it reads any layout
        with graph.inserting_after(node):
            images = graph.call_method("contiguous", (node,), {"memory_format": torch.channels_last})
        node.replace_all_uses_with(images, delete_user_cb=lambda user, images=images: user is not images)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def reuse_memory(model: fx.GraphModule) -> None:
    """Let a block write to the memory of its input, if that is another block's output and nothing else reads it."""
    modules = dict(model.named_modules())
    calls: dict[FusedBottleneck, list[fx.Node]] = {}
    for node in model.graph.find_nodes(op="call_module"):
        if isinstance(block := modules[str(node.target)], FusedBottleneck):
            calls.setdefault(block, []).append(node)
    made = {node for nodes in calls.values() for node in nodes}
    for block, nodes in calls.items():
        sources = [node.all_input_nodes[0] for node in nodes]
        block.inplace = not block.projection and all(s in made and len(s.users) == 1 for s in sources)


class _Tracer(fx.Tracer):
    """Trace into all modules except norms and those of our layers whose code depends on sizes."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        ours = type(module).__module__.startswith("involution.layers") and not isinstance(module, Involution2d)
        ours = ours or isinstance(module, FusedBottleneck | FusedStem)
        return super().is_leaf_module(module, name) or isinstance(module, nn.BatchNorm2d) or ours
