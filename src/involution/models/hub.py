"""Model cards for the Hugging Face hub, to which timm uploads networks."""

from __future__ import annotations

from typing import Any

from torch import nn

_CITATION = """@inproceedings{li2021involution,
  title = {Involution: Inverting the Inherence of Convolution for Visual Recognition},
  author = {Li, Duo and Hu, Jie and Wang, Changhu and Li, Xiangtai and She, Qi and Zhu, Lei and Zhang, Tong and
            Chen, Qifeng},
  booktitle = {CVPR},
  year = {2021}
}"""


def model_card(
    network: nn.Module, repository: str, license: str, details: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the card of a classifier, as `timm.models.push_to_hf_hub` takes it.

        timm.models.push_to_hf_hub(network, repository, model_card=model_card(network, repository, "mit"))

    Args:
        network: created by `timm.create_model`.
        repository: OWNER/NAME on the hub.
        license: of the weights, an identifier of the hub such as "mit" or "cc-by-nc-4.0". It depends on the images.
        details: facts by name, such as {"Dataset": "imagenet-1k"}.

    >>> import timm
    >>> network = timm.create_model("rednet26")
    >>> model_card(network, "me/rednet26-flowers", "mit", {"Dataset": "flowers"})["details"]
    {'Architecture': 'rednet26', 'Parameters': '9.2 M', 'Dataset': 'flowers'}
    """
    config: Any = getattr(network, "pretrained_cfg", {})
    parameters = sum(parameter.numel() for parameter in network.parameters())
    architecture = config.get("architecture", type(network).__name__)
    return {
        "license": license,
        "tags": ["image-classification", "timm", "involution"],
        "description": f"A {architecture} with involutions, for the package `involution`.",
        "details": {"Architecture": architecture, "Parameters": f"{parameters / 1e6:.1f} M", **(details or {})},
        "usage": (
            "```python\nimport timm\nimport involution.models  # registers the networks\n\n"
            f'network = timm.create_model("hf-hub:{repository}", pretrained=True).eval()\n```'
        ),
        "citation": _CITATION,
    }
