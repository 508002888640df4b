"""Parameters and arithmetic of our networks equal what was published, and the stored counts are current."""

from functools import cache

import pytest
import torch
from benchmarks.measuring.record import load
from benchmarks.tables import published as tables

from involution.layers.attention.axial import AxialAttention2d
from involution.models.counting.complexity import build, profile

pytestmark = pytest.mark.slow  # many networks


@pytest.fixture(scope="module")
def stored():
    rows = load("complexity/complexity").rows
    return {row["network"]: {name: value for name, value in row.items() if name != "network"} for row in rows}


NETWORKS = {
    tables.key(row): row
    for name in ("readme", "table1", "patchwise", "ablation", "counted", "lsnet", "modern", "detection", "segmentation")
    for row in tables.published(name)
}
NETWORKS |= {name: {"model": name} for name in tables.CONTROLS}
EXACT = {
    tables.key(row): row
    for name in ("counted", "ablation", "detection", "segmentation")
    for row in tables.published(name)
}


@cache
def counted(key):
    row = NETWORKS[key]
    return profile(row["model"], row.get("input_size"), **row.get("arguments", {}))


@pytest.mark.parametrize("key", NETWORKS)
def test_stored_counts_are_current(key, stored):
    found = counted(key)
    trainable = {"trainable_params"} if found["trainable_params"] != found["params"] else set()
    assert stored[key] == {column: found[column] for column in {"params", "macs", "published_flops"} | trainable}


def test_no_count_is_stored_of_a_network_that_no_table_names(stored):
    assert set(stored) == set(NETWORKS)


@pytest.mark.parametrize("key", EXACT)
def test_counts_equal_those_of_the_official_code_to_the_unit(key):
    found = counted(key)
    assert (found["trainable_params"], found["published_flops"]) == (
        EXACT[key]["exact_params"],
        EXACT[key]["exact_flops"],
    )


@pytest.mark.parametrize("row", tables.published("readme"), ids=tables.key)
def test_counts_round_to_those_of_the_official_readme(row):
    assert not tables.differs(row, "params")
    assert not tables.differs(row, "flops")


@pytest.mark.parametrize("row", tables.published("lsnet"), ids=tables.key)
def test_lsnet_has_the_parameters_of_the_logs(row):
    """The log of LSNet-B counts a network without the 1x1 branches of the depthwise mixers."""
    model = build(row["model"])
    sizes = {name: p.numel() for name, p in model.named_parameters() if "logged_params" in row or "conv1." not in name}
    total, head = sum(sizes.values()), sum(size for name, size in sizes.items() if name.startswith("head."))
    assert total == row.get("logged_params", total)
    assert total + head == row["logged_params_distilled"]


# Counts of an independent implementation of the same descriptions: parameters in thousands, multiply-adds in millions.
REBUILT = {
    "lrnet26": (14_702, 2_400),
    "lrnet50": (23_381, 4_060),
    "lrnet101": (42_243, 7_820),
    "resnet26_standalone": (10_324, None),
    "resnet38_standalone": (14_166, None),
    "resnet50_standalone": (18_008, None),
    "san10_pairwise": (10_532, 2_053),
    "san15_pairwise": (14_065, 2_874),
    "san19_pairwise": (17_596, 3_657),
    "san10_patchwise": (11_841, None),
    "san15_patchwise": (16_181, None),
    "san19_patchwise": (20_518, None),
    "aa_resnet50": (25_809, 4_215),
    "aa_resnet101": (45_387, 8_188),
    "aa_resnet152": (61_614, 12_135),
    "axial_resnet_s": (11_585, None),
    "axial_resnet_m": (25_200, None),
    "axial_resnet_l": (44_029, None),
}


@pytest.mark.parametrize("name", REBUILT)
def test_an_independent_implementation_has_as_many_parameters(name):
    params, macs = REBUILT[name]
    assert round(counted(name)["params"] / 1e3) == params
    if macs:
        assert counted(name)["macs"] / 1e6 == pytest.approx(macs, rel=4e-3)


@pytest.mark.parametrize("depth", [26, 38, 50, 101, 152])
def test_the_depthwise_twin_has_the_budget_of_rednet(depth):
    twin, rednet = counted(f"rednet{depth}_depthwise"), counted(f"rednet{depth}")
    assert twin["params"] == pytest.approx(rednet["params"], rel=0.015)
    assert twin["macs"] == pytest.approx(rednet["macs"], rel=0.008)


@pytest.mark.parametrize(("size", "published"), [("s", "12.5"), ("m", "26.5"), ("l", "45.8")])
def test_axial_networks_with_the_tables_of_their_authors_have_the_published_parameters(size, published):
    """Rows that no offset reaches explain the difference, as in the note of Table 1."""
    model = build(f"axial_resnet_{size}")
    layers = [layer for layer in model.modules() if isinstance(layer, AxialAttention2d)]
    unread = sum((479 - len(t)) * t.shape[1] for m in layers for t in (m.for_query, m.for_key, m.for_value))
    assert tables.printed((sum(p.numel() for p in model.parameters()) + unread) / 1e6, 1) == published


@pytest.mark.parametrize(("name", "published"), [("resnet38_standalone", "14.1"), ("lrnet50", "23.3")])
def test_networks_that_were_counted_without_batch_norms(name, published):
    model = build(name)
    norms = sum(p.numel() for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters())
    assert tables.printed((sum(p.numel() for p in model.parameters()) - norms) / 1e6, 1) == published
