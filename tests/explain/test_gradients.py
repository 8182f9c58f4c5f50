import numpy as np
import pytest

from lamina.core.errors import DataError
from lamina.explain import gradient_norms, gradient_norms_figure


def written(tmp_path, text):
    (tmp_path / "gradients.csv").write_text(text)
    return tmp_path


def test_a_record_is_read_from_file_or_folder(tmp_path):
    folder = written(tmp_path, "step,conv.1,head\n5,0.5,1\n10,nan,2e-3\n")
    for path in (folder, folder / "gradients.csv"):
        record = gradient_norms(path)
        assert record.layers == ("conv.1", "head")
        assert record.steps.tolist() == [5, 10]
        assert np.array_equal(record.norms, [[0.5, 1], [np.nan, 2e-3]], equal_nan=True)


def test_by_depth_tells_the_beginning_from_the_end(tmp_path):
    body = "".join(f"{step},{1 / step},{2 / step}\n" for step in range(1, 101))
    left, right = gradient_norms_figure(written(tmp_path, f"step,a,b\n{body}")).axes
    drawn = {line.get_label(): line.get_ydata() for line in left.lines}
    assert drawn["begin"].tolist() == pytest.approx([np.median(1 / np.arange(1, 11)), np.median(2 / np.arange(1, 11))])
    assert drawn["end"][0] == pytest.approx(np.median(1 / np.arange(91, 101)))
    assert left.get_yscale() == "log"
    assert [line.get_label() for line in right.lines] == ["a", "b"]


@pytest.mark.parametrize("body", ["", "1,0,0\n", "1,nan,nan\n", "1,0.5,inf\n2,0.1,0.2\n"])
def test_what_there_is_little_of_is_drawn(body, tmp_path):
    gradient_norms_figure(written(tmp_path, f"step,$a,b\n{body}")).savefig(tmp_path / "a.png")


@pytest.mark.parametrize("text", ["", "step,a\n1\n", "step,a\nx,1\n", "step,a\n1,b\n"])
def test_a_broken_file_is_named(text, tmp_path):
    with pytest.raises(DataError, match=r"cannot be read as gradient norms"):
        gradient_norms(written(tmp_path, text))


def test_a_run_without_one_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match="log-every 50"):
        gradient_norms(tmp_path)
