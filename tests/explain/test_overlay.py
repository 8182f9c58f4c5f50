import pytest

from lamina.core.errors import DataError
from lamina.explain import overlaid_figure


def history(*losses, held=None):
    return {"loss": list(losses), **({"val_loss": held} if held else {})}


def lines(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_runs_lie_over_each_other_a_panel_a_figure(tmp_path):
    figure = overlaid_figure({"a": history(1, 0.5, held=[1.2, 0.8]), "b": {"loss": [1, 0.4], "accuracy": [0.5, 0.75]}})
    loss, accuracy = figure.axes
    assert lines(loss) == ["a (0.8 in epoch 2)", "b (0.4 in epoch 2)"]
    assert lines(accuracy) == ["b (0.75 in epoch 2)"]
    assert len(loss.lines) == 3  # training of a is faint
    assert len({(line.get_linestyle(), line.get_marker()) for line in loss.lines if line.get_marker() != "None"}) == 2
    figure.savefig(tmp_path / "a.png")


def test_folders_are_named_by_what_tells_them_apart(tmp_path):
    for name in ("x/big", "y/big"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "results.csv").write_text("epoch,loss\n0,1.0\n1,0.5\n")
    figure = overlaid_figure([tmp_path / "x" / "big", tmp_path / "y" / "big"])
    assert lines(figure.axes[0]) == ["x/big (0.5 in epoch 2)", "y/big (0.5 in epoch 2)"]
    assert lines(overlaid_figure([tmp_path / "x" / "big"]).axes[0]) == ["big (0.5 in epoch 2)"]


def test_a_run_that_finished_no_epoch_is_drawn_as_none(tmp_path):
    overlaid_figure({"a": {"loss": []}}).savefig(tmp_path / "a.png")


def test_none_too_many_twice_and_missing_are_refused(tmp_path):
    with pytest.raises(DataError, match="0 runs"):
        overlaid_figure([])
    with pytest.raises(DataError, match="9 runs came"):
        overlaid_figure({str(k): history(1) for k in range(9)})
    with pytest.raises(DataError, match="twice"):
        overlaid_figure([tmp_path, tmp_path / "." / ""])
    with pytest.raises(DataError, match="no file"):
        overlaid_figure([tmp_path])
