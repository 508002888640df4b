"""Links of the page: the choices of a view as the query of an address."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from involution.explore.explorer import Explorer
from involution.explore.views import SIZES, View


def linked(explorer: Explorer, start: View, query: Mapping[str, str]) -> View:
    """Return the view of a link of the page; what the link lacks or spells wrongly is that of `start`."""
    source = explorer.sources.get(query.get("network", ""), start.source)
    image = explorer.images.get(query.get("image", "")) or explorer.fitting(source, start.image)
    x, y, group, size = (_number(query, name) for name in ("x", "y", "group", "size"))
    place = start.place if x is None or y is None else (min(x / 1000, 1.0), min(y / 1000, 1.0))
    own = start.size if source == start.source else 0
    return View(
        source,
        image,
        size=own if size is None else min(max(size, SIZES[0]), SIZES[1]),
        layer=query.get("layer", ""),
        group=group or 0,
        place=place,
    )


def link(network: str, image: str, view: View) -> str:
    """Return the link to a view of a network and an image with these names."""
    place = {name: round(part * 1000) for name, part in zip("xy", view.place, strict=True)}
    choices = {"size": view.size, "layer": view.layer, "group": view.group, **place}
    return "?" + urlencode({"network": network, "image": image, **choices})


def _number(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name, "")
    return int(value) if value.isdecimal() and len(value) < 6 else None
