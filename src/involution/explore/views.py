"""Pictures of the page, drawn from the state of one user; independent of gradio."""

from __future__ import annotations

from dataclasses import dataclass, replace

from involution.explore import pictures
from involution.explore.explorer import Explorer, Photograph, Source
from involution.explore.network import Look
from involution.explore.pictures import Picture, Place
from involution.weights import DEFAULT, PRETRAINED

SIZES = 32, 512
"""Smallest and largest short side of a resized image, in pixels."""
FIRST_SIZE = 256
"""Short side, in pixels, at which the network of the package is first shown."""


@dataclass(frozen=True)
class View:
    """The state of one panel.

    Args:
        source: of the network.
        image: input of the network.
        size: short side of the resized image, in pixels; 0 is that of the network's training.
        layer: name of an involution; "" is `default_layer`.
        group: group of channels.
        place: the selected pixel, on the image.
        own_source, own_image: uploaded by the user.
    """

    source: Source
    image: Photograph
    size: int = 0
    layer: str = ""
    group: int = 0
    place: Place = (0.5, 0.5)
    own_source: Source | None = None
    own_image: Photograph | None = None


@dataclass(frozen=True)
class Shown:
    """The pictures of a view, and the choices that its network offers."""

    view: View
    layers: list[str]
    groups: int
    heat: Picture
    group_thumbnails: Picture
    layer_thumbnails: Picture
    end: float  # limit of the colour scale
    kernels: Picture
    window: Picture
    classes: list[tuple[str, float]]
    facts: str


def first_view(explorer: Explorer) -> View:
    """Return the view that the page opens: the first network that can be read, on the first image.

    The network of the package was trained on images of 64 pixels. Its maps show more at `FIRST_SIZE`, at which it names
    the first image too.
    """
    source = explorer.readable()
    size = FIRST_SIZE if source.checkpoint == PRETRAINED[DEFAULT] else 0
    return View(source, next(iter(explorer.images.values())), size)


def show(explorer: Explorer, view: View) -> Shown:
    """Return the pictures of a view. A layer or group that the network lacks is replaced by one that it has.

    Raises:
        ValueError: the network cannot be read.
    """
    view = replace(view, size=view.size or explorer.network(view.source).size)
    look = explorer.look(view.source, view.image, view.size)
    if view.layer not in look.layers:
        view = replace(view, layer=default_layer(look))
    generated = look.layers[view.layer]
    groups = generated.kernel.shape[1]
    view = replace(view, group=min(view.group, groups - 1))
    rows, columns = generated.kernel.shape[-2:]
    kh, kw = generated.kernel.shape[2:4]
    i, j = generated.pixel(*view.place)
    return Shown(
        view,
        list(look.layers),
        groups,
        pictures.heat_picture(view.image.pixels, look, view.layer, view.group, view.place),
        pictures.groups_picture(look, view.layer, view.group),
        pictures.layers_picture(look, view.layer),
        pictures.scale(look, view.layer, view.group),
        pictures.kernels_picture(look, view.layer, view.place),
        pictures.window_picture(view.image.pixels, look, view.layer, view.group, view.place),
        look.classes,
        f"row {i} of {rows}, column {j} of {columns}; {groups} groups, window {kh} x {kw}",
    )


def chosen_at(explorer: Explorer, view: View, picture: str, x: int, y: int) -> View:
    """Return the view of the group or layer at a pixel of a picture; the same view beside them.

    Args:
        picture: "kernels", "groups" or "layers".
    """
    look = explorer.look(view.source, view.image, view.size)
    if picture == "layers":
        number = pictures.thumbnail_at(look, len(look.layers), x, y)
        return view if number is None else replace(view, layer=list(look.layers)[number])
    groups, kh, kw = look.layers[view.layer].kernel.shape[1:4]
    in_groups = picture == "groups"
    group = pictures.thumbnail_at(look, groups, x, y) if in_groups else pictures.group_at(x, y, groups, kh, kw)
    return view if group is None else replace(view, group=group)


def default_layer(look: Look) -> str:
    """Return the layer whose map, of the first group, varies most in colour.

    Layers count whose maps have at least 12 rows and an eighth of the image's; if there are none, the finest one.
    """
    rows = {name: generated.kernel.shape[-2] for name, generated in look.layers.items()}
    fine = [name for name, height in rows.items() if height >= max(12, look.image.shape[-2] / 8)]

    def variation(layer: str) -> float:
        return look.layers[layer].kernel[0, 0].sum((0, 1)).std().item() / pictures.scale(look, layer, 0)

    return max(fine, key=variation) if fine else max(rows, key=lambda name: rows[name])
