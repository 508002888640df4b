from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from involution.explore.explorer import Source
from involution.explore.links import link, linked
from involution.explore.views import show


def query(text):
    return dict(parse_qsl(text.removeprefix("?")))


def test_a_link_leads_to_its_view(explorer, view):
    shown = show(explorer, replace(view, size=64, layer="stem.1", group=1, place=(0.25, 0.75))).view
    image = next(name for name, image in explorer.images.items() if image.key == shown.image.key)
    found = linked(explorer, view, query(link("two.ckpt", image, shown)))
    assert replace(found, image=shown.image) == shown
    assert found.image.key == shown.image.key


def test_a_link_without_choices_is_the_start(explorer, view):
    start = replace(view, size=96)
    assert linked(explorer, start, {}) == start
    other = linked(explorer, start, {"network": "rednet26, untrained"})
    assert (other.source, other.size) == (Source("rednet26"), 0)  # the size of another network is its own


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("size", "9", "size", 32),
        ("size", "99999", "size", 512),
        ("size", "-64", "size", 0),
        ("size", "1" * 5000, "size", 0),
        ("group", "one", "group", 0),
        ("x", "5000", "place", (0.5, 0.5)),
        ("network", "/etc/passwd", "source", None),
    ],
)
def test_a_link_with_wrong_values(explorer, view, name, value, field, expected):
    found = getattr(linked(explorer, view, {name: value}), field)
    assert found == (view.source if expected is None else expected)
