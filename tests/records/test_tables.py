"""The tables of README and docs are generated, and current."""

import itertools

import pytest
from benchmarks import rendering
from benchmarks.plots import accuracy, latency
from benchmarks.plots.labels import place
from benchmarks.plots.picture import Picture
from benchmarks.tables import complexity, headline, published, study
from benchmarks.tables.values import VALUES
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

BLOCK = "before\n<!-- begin: classification -->\n{}<!-- end: classification -->\nafter\n"


def test_tables_and_pictures_are_current():
    assert not rendering.stale()


def test_every_block_can_be_generated():
    for name, block in rendering.BLOCKS.items():
        assert (name in {**VALUES, **headline.VALUES, **study.VALUES}) != (block().count("|\n") > 2), name


def test_a_stale_block_is_filled_and_a_current_one_is_left():
    filled = rendering.fill(BLOCK.format("| old |\n"))
    assert filled == BLOCK.format(rendering.BLOCKS["classification"]())
    assert rendering.fill(filled) == filled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin: weather -->\n<!-- end: weather -->\n", "block: expected one of .*, got 'weather'"),
        ("<!-- begin: classification -->\n", "block: expected every begin mark to have its end mark"),
        ("<!-- end: classification -->\n", "block: expected every begin mark to have its end mark"),
    ],
)
def test_errors(text, message):
    with pytest.raises(ValueError, match=message):
        rendering.fill(text)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (44.549, 1, "44.6"),
        (30.145, 1, "30.2"),
        (2.4402, 1, "2.4"),
        (7.847, 1, "7.9"),
        (34.0, 1, "34.0"),
        (9.2339, 2, "9.23"),
    ],
)
def test_rounding_is_the_papers(value, decimals, text):
    assert published.printed(value, decimals) == text


def test_a_difference_without_a_reason_is_an_error(monkeypatch):
    row = {"label": "x", "model": "rednet50", "params": 1.0, "flops": 2.7, "top1": 0.0}
    monkeypatch.setattr(complexity, "published", lambda table: [row])
    with pytest.raises(ValueError, match="params_note: expected one where counts differ and only there, got None"):
        complexity.comparison("table1")


def test_a_picture_is_current_while_its_figures_are_those_of_the_records(tmp_path):
    figures = {"a": [["<name>", 1.5, 2]]}
    picture = Picture("test.svg", lambda: figures, lambda found: Figure(), tmp_path)
    assert not picture.current()
    picture.write()
    assert picture.current()
    first = picture.path.read_bytes()
    picture.write()
    assert picture.path.read_bytes() == first
    figures["a"] = []
    assert not picture.current()


def test_the_plot_of_latency_shows_what_was_recorded():
    found = latency.points()
    assert found["eager, batch 1"]["resnet50"] == [pytest.approx(4.09, abs=0.01), 1.0]
    assert found["eager, batch 16"]["rednet50"][0] == pytest.approx(2.65, abs=0.01)  # with the stem of 3 x 3


@pytest.mark.slow
def test_names_in_plots_overlap_nothing():
    figures = {plot: plot.draw(plot.points()) for plot in (accuracy, latency)}
    assert len(figures[accuracy].axes[0].texts) == sum(map(len, accuracy.timm_points(accuracy.points()).values()))
    for axes in figures[latency].axes:
        assert len(axes.texts) == len(latency.points()["eager, batch 1"])
    for figure in figures.values():
        FigureCanvasAgg(figure).draw()
    for axes in (axes for figure in figures.values() for axes in figure.axes):
        check_names(axes)


def check_names(axes):
    renderer = axes.figure.canvas.get_renderer()
    names = [Text.get_window_extent(text, renderer) for text in axes.texts]
    for one, other in itertools.combinations(names, 2):
        assert not one.overlaps(other)
    for line in axes.lines:
        if line.get_linestyle() == ":":  # the guide behind the points
            continue
        path = line.get_transform().transform_path(line.get_path())
        assert not any(path.intersects_bbox(name, filled=False) for name in names)


def test_names_are_placed_beside_points_that_coincide():
    axes = Figure(figsize=(3, 3)).subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    place(axes, [(name, 0.5, 0.5) for name in "abc"], [(0.5, 0.5)])
    assert len({text.xyann for text in axes.texts}) == 3
