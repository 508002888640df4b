"""`involution explain IMAGE ... --model NAME --out FILE`: what the kernels of a network look like on images.

A row per image, a column per group: the sum of the kernel generated at every pixel, over the image (Figure 3 of the
paper). With `--pixel` the kernels themselves at these pixels, beside their mean over the image.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from involution.cli.errors import Parser, UserError, did_you_mean
from involution.weights import DEFAULT, check_destination

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from involution.explore import Look

LARGEST = 4096  # pixels, of the short side
FORMATS = (".png", ".svg", ".pdf")


def run(command: str, arguments: Sequence[str]) -> None:
    """Draw the picture and write it to a file."""
    given = _parser().parse_args(arguments)
    if given.groups < 1:
        raise UserError(f"--groups: expected a positive number, got {given.groups}")
    if given.input_size is not None and not 1 <= given.input_size <= LARGEST:
        raise UserError(f"--input-size: expected 1 to {LARGEST}, got {given.input_size}")
    out = picture_path(given.out)

    from involution.data.files import find_images, read_image  # imported after the arguments are checked
    from involution.explore import load_network

    checkpoint = given.checkpoint or (DEFAULT if given.model is None else None)
    network = load_network(given.model, checkpoint)
    images = [read_image(path) for path in find_images(given.images)]
    looks = [network.look(image, given.input_size) for image in images]
    figure = _kernels(given, images, looks) if given.pixel else _heat_maps(given, looks)
    figure.savefig(out, dpi=200)
    if checkpoint is None:
        print(f"{given.model} without --checkpoint: its weights are random", file=sys.stderr)


def picture_path(out: str) -> Path:
    """Return the path of a picture.

    Raises:
        ValueError: no picture can be written there.
    """
    return check_destination(out, "--out", FORMATS)


def _parser() -> Parser:
    parser = Parser(prog="involution explain", description=__doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, and folders with images")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="network, such as rednet50 or mask_rcnn/rednet50/involution (default: that of the checkpoint)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help=f"of `involution fit`, or weights (default: {DEFAULT}, or random ones for --model)",
    )
    parser.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="name of an involution layer; may be repeated; an unknown name prints the list of names",
    )
    parser.add_argument(
        "--groups", type=int, default=4, metavar="N", help="number of groups drawn per layer (default: 4)"
    )
    parser.add_argument("--input-size", type=int, metavar="N", help="short side of the resized image, in pixels")
    parser.add_argument(
        "--pixel",
        nargs=2,
        type=int,
        action="append",
        metavar=("X", "Y"),
        help="draw the kernels at this pixel of the image; may be repeated",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="PNG, SVG or PDF, chosen by its ending")
    return parser


def _heat_maps(given: Any, looks: Sequence[Look]) -> Figure:
    from involution.visualize import draw_heat_maps

    maps = {
        name: [look.layers[name].kernel[0].sum((1, 2)) for look in looks] for name in _choose(given.layer, looks[0])
    }
    return draw_heat_maps([look.image for look in looks], maps, given.groups)


def _kernels(given: Any, images: Sequence[Any], looks: Sequence[Look]) -> Figure:
    from involution.visualize import draw_kernels

    layers = _choose(given.layer, looks[0])
    if len(looks) != 1 or len(layers) != 1:
        raise UserError(f"--pixel: expected one image and one layer, got {len(looks)} and {len(layers)}")
    [look], (height, width) = looks, images[0].shape[-2:]
    for x, y in given.pixel:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"--pixel: expected X in 0 to {width - 1} and Y in 0 to {height - 1}, got {x} {y}")
    factors = look.image.shape[2] / width, look.image.shape[1] / height
    pixels = [((x + 0.5) * factors[0] - 0.5, (y + 0.5) * factors[1] - 0.5) for x, y in given.pixel]
    return draw_kernels(look.image, look.layers[layers[0]], pixels, given.groups, layers[0])


def _choose(names: Sequence[str] | None, look: Look) -> list[str]:
    """Return the requested layers, or a default layer."""
    from involution.explore.views import default_layer

    for name in names or ():
        if name not in look.layers:
            hint = did_you_mean(name, look.layers)
            raise UserError(f"--layer: expected one of {', '.join(look.layers)}, got {name!r}{hint}")
    if names:
        return list(dict.fromkeys(names))
    return [default_layer(look)]
