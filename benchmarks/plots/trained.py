"""The sums of the kernels of a trained network beside those of an untrained one, on two photographs.

python -m benchmarks.plots.trained

It draws docs/images/trained.png with the weights of the package and the photographs of scikit-learn.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor

from benchmarks.measuring.record import ROOT
from involution.explore import load_network
from involution.explore.explorer import samples
from involution.explore.network import Network
from involution.tasks import load_task
from involution.visualize import draw_heat_maps
from involution.weights import DEFAULT

LAYER, SIZE, GROUPS = "layer2.0.conv2", 256, 3


def main() -> None:
    """Draw the picture."""
    trained, options = load_network(None, DEFAULT), load_task(DEFAULT).hparams["options"]
    torch.manual_seed(0)
    model = timm.create_model("rednet26", num_classes=50, **options)
    untrained = Network(model, trained.size, trained.mean.flatten().tolist(), trained.std.flatten().tolist())
    photographs = [samples()[name] for name in ("china", "flower")]
    networks = {"trained": trained, "untrained": untrained}
    looks = {name: [net.look(image, SIZE) for image in photographs] for name, net in networks.items()}
    maps: dict[str, list[Tensor]] = {
        f"{name}, {LAYER}": [look.layers[LAYER].kernel[0].sum((1, 2)) for look in each] for name, each in looks.items()
    }
    figure = draw_heat_maps([look.image for look in looks["trained"]], maps, GROUPS)
    figure.savefig(ROOT / "docs/images/trained.png", dpi=110)


if __name__ == "__main__":
    main()
