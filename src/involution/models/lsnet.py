"""LSNet: a large window predicts the kernel of every pixel, which is applied to a small one.

Wang et al., "LSNet: See Large, Focus Small", CVPR 2025. Parameters have the names of the authors' code,
github.com/THU-MIG/lsnet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models import checkpoint_seq, register_model
from timm.models.repvit import ConvNorm, NormLinear
from torch import Tensor, nn
from torch.nn import functional as F

from involution.models.lsnet_blocks import Block
from involution.models.skeleton.registration import configurations, create

NAMES = ("blocks1", "blocks2", "blocks3", "blocks4")
WIDTHS = {"t": (64, 128, 256, 384), "s": (96, 192, 320, 448), "b": (128, 256, 384, 512)}
DEPTHS = {"t": (0, 2, 8, 10), "s": (1, 2, 8, 10), "b": (4, 6, 8, 10)}
EPS = 1e-5
"""Of the batch norms."""


class LSNet(nn.Module):
    """LSNet: a stem of stride 8 and four stages, with the interface of a timm model.

    Args:
        widths: channels of the stages.
        depths: blocks of the stages.
        num_classes: number of outputs; 0 omits the classifier.
        in_chans: channels of the image.
        global_pool: "avg" before the classifier, or "" for none.
        drop_rate: dropout before the classifier.
        device, dtype: of the weights.

    Raises:
        ValueError: `global_pool` is not one of the above.
    """

    blocks1: nn.Sequential
    blocks2: nn.Sequential
    blocks3: nn.Sequential
    blocks4: nn.Sequential

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS["t"],
        depths: Sequence[int] = DEPTHS["t"],
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_chans, self.num_features, self.drop_rate = in_chans, widths[-1], drop_rate
        self.head_hidden_size = self.num_features
        self.grad_checkpointing = False
        first = widths[0]
        self.patch_embed = nn.Sequential(
            ConvNorm(in_chans, first // 4, 3, 2, 1, **factory),
            nn.ReLU(),
            ConvNorm(first // 4, first // 2, 3, 2, 1, **factory),
            nn.ReLU(),
            ConvNorm(first // 2, first, 3, 2, 1, **factory),
        )
        self.feature_info: list[dict[str, Any]] = []
        channels = first
        for stage, (name, width, depth) in enumerate(zip(NAMES, widths, depths, strict=True)):
            layers: list[nn.Module] = []
            if stage:
                layers.append(ConvNorm(channels, channels, 3, 2, 1, groups=channels, **factory))
                layers.append(ConvNorm(channels, width, **factory))
            attends = stage == len(NAMES) - 1
            layers += [Block(width, index, attends, **factory) for index in range(depth)]
            setattr(self, name, nn.Sequential(*layers))
            self.feature_info.append({"num_chs": width, "reduction": 8 << stage, "module": name})
            channels = width
        self._set_classifier(num_classes, global_pool, **factory)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return patterns that assign parameters to stem and blocks, for layer-wise learning rates."""
        return {"stem": r"^patch_embed", "blocks": r"^blocks(\d+)" if coarse else r"^blocks(\d+)\.(\d+)"}

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Return the names of the tables of biases; timm's optimizers do not decay them."""
        return {name for name, _ in self.named_parameters() if name.endswith("attention_biases")}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations of the blocks in the backward pass instead of storing them."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Return the classifier, a batch norm and a linear map."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one of the same device and dtype; `global_pool` None keeps the pooling."""
        like = next(self.parameters())
        pool = self.global_pool if global_pool is None else global_pool
        self._set_classifier(num_classes, pool, device=like.device, dtype=like.dtype)
        self.head.train(self.training)

    def _set_classifier(self, num_classes: int, global_pool: str, **factory: Any) -> None:
        if global_pool not in ("avg", ""):
            raise ValueError(f'global_pool: expected "avg" or "", got {global_pool!r}')
        self.num_classes, self.global_pool = num_classes, global_pool
        self.head = NormLinear(self.num_features, num_classes, **factory) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the feature map of the last stage, [B, num_features, ⌈H/64⌉, ⌈W/64⌉]."""
        x = self.patch_embed(x)
        stages = [self.blocks1, self.blocks2, self.blocks3, self.blocks4]
        if self.grad_checkpointing:
            return checkpoint_seq(stages, x, flatten=True)
        for stage in stages:
            x = stage(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the features and, unless `pre_logits`, apply the classifier."""
        if self.global_pool:
            x = x.mean((2, 3))
        x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a released classifier for our network; called by timm.

    Networks that were trained by distillation return the mean of two classifiers, which are linear maps of the same
    features. It is a linear map too, and here replaces the two.
    """
    weights = dict(state_dict.get("model", state_dict))
    if "head_dist.l.weight" not in weights:
        return weights
    (weight, bias), (other_weight, other_bias) = (_linear(weights, head) for head in ("head", "head_dist"))
    weight, bias = (weight + other_weight) / 2, (bias + other_bias) / 2
    # The batch norm keeps its statistics, for later training; only its scale and shift move to the linear map.
    mean, variance = weights["head.bn.running_mean"], weights["head.bn.running_var"]
    weights["head.l.weight"] = weight * (variance + EPS).sqrt()
    weights["head.l.bias"] = bias + weight @ mean
    weights["head.bn.weight"], weights["head.bn.bias"] = torch.ones_like(mean), torch.zeros_like(mean)
    return {name: value for name, value in weights.items() if not name.startswith("head_dist.")}


def _linear(weights: dict[str, Tensor], head: str) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a classifier with its batch norm."""
    norm = {part: weights[f"{head}.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    scale = norm["weight"] / (norm["running_var"] + EPS).sqrt()
    weight = weights[f"{head}.l.weight"]
    return weight * scale, weights[f"{head}.l.bias"] + weight @ (norm["bias"] - norm["running_mean"] * scale)


default_cfgs = configurations(
    (f"lsnet_{size}" for size in WIDTHS),
    first_conv="patch_embed.0.c",
    classifier="head.l",
    pool_size=(4, 4),
    crop_pct=0.9,
    interpolation="bicubic",
    paper_ids="arXiv:2503.23135",
    origin_url="https://github.com/THU-MIG/lsnet",
)


def _create(size: str, pretrained: bool, **kwargs: Any) -> LSNet:
    plan = {"widths": WIDTHS[size], "depths": DEPTHS[size], **kwargs}
    return create(LSNet, f"lsnet_{size}", pretrained, pretrained_filter_fn=checkpoint_filter_fn, **plan)


@register_model
def lsnet_t(pretrained: bool = False, **kwargs: Any) -> LSNet:
    """LSNet-T: 11.4 M parameters, 0.3 G multiply-adds."""
    return _create("t", pretrained, **kwargs)


@register_model
def lsnet_s(pretrained: bool = False, **kwargs: Any) -> LSNet:
    """LSNet-S: 16.1 M parameters, 0.5 G multiply-adds."""
    return _create("s", pretrained, **kwargs)


@register_model
def lsnet_b(pretrained: bool = False, **kwargs: Any) -> LSNet:
    """LSNet-B: 23.3 M parameters, 1.3 G multiply-adds."""
    return _create("b", pretrained, **kwargs)
