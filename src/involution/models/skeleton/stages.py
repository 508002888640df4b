"""The base of all classifiers here: a stem, four stages and a linear classifier, with the interface of a timm model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from timm.layers import create_classifier
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F

Plan = TypeVar("Plan")

NAMES = ("layer1", "layer2", "layer3", "layer4")


class Stages(nn.Module):
    """A stem, four stages and a linear classifier, with the interface of a timm model.

    Args:
        stem: maps the image, [B, in_chans, H, W], to the input of the first stage.
        stages: four sequences of blocks.
        widths: output channels of the stages.
        reductions: output strides of the stages, relative to the image.
        stem_pool: whether a 3x3 max pooling of stride 2 follows the stem.
        num_classes: number of outputs; 0 omits the classifier.
        in_chans: channels of the image.
        global_pool: pooling before the classifier, one of timm's names.
        drop_rate: dropout before the classifier.
        device, dtype: of the classifier.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Sequential],
        widths: Sequence[int],
        reductions: Sequence[int] = (4, 8, 16, 32),
        stem_pool: bool = False,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= drop_rate <= 1:
            raise ValueError(f"drop_rate: expected 0 to 1, got {drop_rate}")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.stem = stem
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": width, "reduction": reduction, "module": name}
            for name, width, reduction in zip(NAMES, widths, reductions, strict=True)
        ]
        self.num_features = widths[-1]
        self._set_classifier(num_classes, global_pool, device, dtype)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return patterns that assign parameters to stem and blocks, for layer-wise learning rates."""
        return {"stem": r"^stem", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Return the names of learned tables of positions; timm's optimizers do not decay them."""
        return {name for name, _ in self.named_parameters() if not name.endswith((".weight", ".bias"))}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations of the blocks in the backward pass instead of storing them."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self, name_only: bool = False) -> str | nn.Module:
        """Return the classifier, or its name."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one of the same device and dtype; `global_pool` None keeps the pooling."""
        like = next(self.parameters())
        pool = self.global_pool.pool_type if global_pool is None else global_pool
        self._set_classifier(num_classes, pool, like.device, like.dtype)
        self.global_pool.train(self.training)
        self.fc.train(self.training)

    def _set_classifier(
        self, num_classes: int, global_pool: str, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, device=device, dtype=dtype
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last feature map and the outputs of the stages in `indices`, as in timm."""
        if output_fmt != "NCHW":
            raise ValueError(f'output_fmt: expected "NCHW", got {output_fmt!r}')
        taken, last = feature_take_indices(len(NAMES), indices)
        intermediates = []
        x = self.maxpool(self.stem(x))
        for index, name in enumerate(NAMES[: last + 1] if stop_early else NAMES):
            stage = getattr(self, name)
            x = checkpoint_seq(stage, x) if self.grad_checkpointing else stage(x)
            if index in taken:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the classifier and the stages after the last one in `indices`; return the absolute indices."""
        taken, last = feature_take_indices(len(NAMES), indices)
        for name in NAMES[last + 1 :]:
            setattr(self, name, nn.Sequential())
        if last + 1 < len(NAMES):
            self.num_features = self.feature_info[last]["num_chs"]
            prune_head = True
        if prune_head:
            self.reset_classifier(0, "")
        return list(taken)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the feature map of the last stage, [B, num_features, H, W]."""
        x = self.maxpool(self.stem(x))
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq([self.layer1, self.layer2, self.layer3, self.layer4], x, flatten=True)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the features and, unless `pre_logits`, apply the classifier."""
        x = self.global_pool(x)
        if self.drop_rate:
            x = F.dropout(x, p=float(self.drop_rate), training=self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def plan(depth: int, plans: Mapping[int, Plan]) -> Plan:
    """Return the entry of `plans` for `depth`.

    Raises:
        ValueError: there is no such entry.
    """
    if depth not in plans:
        raise ValueError(f"depth: expected one of {sorted(plans)}, got {depth}")
    return plans[depth]


def scale_widths(widths: Sequence[int], width_factor: float) -> list[int]:
    """Return numbers of channels times `width_factor`, which has the name of the argument of timm's ResNetV2.

    Nothing is rounded. The factor must be a multiple of 0.5: half of the stem then has whole groups of 16 channels.

    Raises:
        ValueError: it is not, or a product is no whole number.

    >>> scale_widths((64, 72, 84), 0.5)
    [32, 36, 42]
    """
    if width_factor <= 0 or width_factor % 0.5:
        raise ValueError(f"width_factor: expected a positive multiple of 0.5, got {width_factor}")
    for width in widths:
        if width * width_factor % 1:
            raise ValueError(f"width_factor: expected whole numbers of channels, got {width_factor} times {width}")
    return [int(width * width_factor) for width in widths]


def initialize(module: nn.Module) -> None:
    """Initialize convolutions with He's normal distribution (fan-out) and linear layers with a std of 0.01.

    This is the initialization of the released code. Biases are zero. A composite layer that has a method
    `reset_parameters` initializes itself.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
    elif any(module.children()) and callable(reset := getattr(module, "reset_parameters", None)):
        reset()
    else:
        for child in module.children():
            initialize(child)
