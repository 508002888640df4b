import os

import pytest

from involution.visualize import draw_curves, read_curves

LOG = """epoch,lr-AdamW,step,train/loss,val/loss,val/top1
,0.001,0,,,
0,,9,,2.0,0.25
0,,9,2.5,,
,0.001,10,,,
1,,19,,1.5,0.5
1,,19,1.75,,
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "runs/version_0/metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(LOG)
    return path


def test_values_stand_at_the_ends_of_their_epochs(log):
    assert read_curves(log) == {
        "val/loss": [(1, 2.0), (2, 1.5)],
        "val/top1": [(1, 0.25), (2, 0.5)],
        "train/loss": [(1, 2.5), (2, 1.75)],
    }


def test_values_of_single_steps_are_left_out(log):
    """Lightning writes the epoch in these rows too."""
    log.write_text("epoch,step,val/loss,train/loss_step,train/left_s\n0,4,,2.5,60.0\n0,9,2.0,,\n")
    assert read_curves(log) == {"val/loss": [(1, 2.0)]}


def test_an_epoch_that_was_repeated_counts_once(log):
    log.write_text(LOG + "1,,19,,1.25,0.75\n")
    assert read_curves(log)["val/loss"] == [(1, 2.0), (2, 1.25)]


def test_the_last_run_of_a_folder_counts(log):
    other = log.parents[1] / "version_1/metrics.csv"
    other.parent.mkdir()
    other.write_text("epoch,step,val/loss\n0,9,7.0\n")
    os.utime(log, (0, 0))
    assert read_curves(log.parents[1]) == read_curves(other.parent) == {"val/loss": [(1, 7.0)]}


def test_a_panel_per_quantity_and_a_color_per_run(log, tmp_path):
    curves = read_curves(log)
    figure = draw_curves({"one": curves, "two": {"val/loss": [(1, 1.0)]}})
    loss, top1 = figure.axes
    assert (loss.get_ylabel(), top1.get_ylabel(), loss.get_xlabel()) == ("loss", "top1", "epoch")
    drawn = {line.get_label(): line for line in loss.lines}
    assert list(drawn) == ["one train", "one val", "two val"]
    assert drawn["one train"].get_linestyle() == "--"
    assert drawn["one train"].get_color() == drawn["one val"].get_color() != drawn["two val"].get_color()
    assert drawn["one val"].get_xydata().tolist() == [[1, 2.0], [2, 1.5]]
    figure.savefig(tmp_path / "curves.svg")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,step,loss\n", "run: expected the log of a training, got .*metrics.csv without epochs"),
        ("epoch,step,loss\n0,1,much\n", "run: expected numbers in .*metrics.csv, got 'much' for loss"),
        ("no log at all", "run: expected the log of a training, got .*metrics.csv without epochs"),
    ],
)
def test_logs_that_are_none(log, text, message):
    log.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_curves(log)


def test_folders_without_logs(tmp_path):
    with pytest.raises(ValueError, match=r"run: expected a folder of `involution fit`, got .* without metrics.csv"):
        read_curves(tmp_path)
    with pytest.raises(ValueError, match=r"run: expected a folder of `involution fit`, got .*, which does not exist"):
        read_curves(tmp_path / "gone")
