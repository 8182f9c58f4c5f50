"""Numbers of pictures in a CSV."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina.core.errors import DataError
from lamina.tasks.regression import table


@pytest.fixture
def folder(tmp_path):
    """A folder with three pictures in a folder of their own."""
    (tmp_path / "p").mkdir()
    for at in range(3):
        Image.fromarray(np.full((8, 8), 60 * at, np.uint8)).save(tmp_path / "p" / f"{at}.png")
    return tmp_path


def test_the_columns_are_found_by_their_names_whatever_their_order(folder):
    (folder / "n.csv").write_text("file;note;b;a\np/0.png;x;1,5;2\n".replace("1,5", "1.5"))
    root, told = table.read(folder / "n.csv", ("a", "b"))
    assert root == folder
    assert told == {"p/0.png": [2.0, 1.5]}


def test_a_csv_is_the_data_of_a_report_and_its_files_are_named(folder):
    (folder / "n.csv").write_text("file,light\np/0.png,0\np/2.png,120\n")
    torch.manual_seed(0)
    model = lamina.Regressor(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), names=["light"])
    model.fit(folder, {f"p/{at}.png": 60 * at for at in range(3)}, epochs=1, verbose=0, validation_split=0.0)
    found = model.numbered(folder / "n.csv")
    assert found.labels.tolist() == [[0.0], [120.0]]
    assert [name.rsplit("/", 1)[-1] for name in found.sources] == ["0.png", "2.png"]
    page = lamina.explain.report(model, str(folder / "n.csv"), path=folder / "report.html").read_text("utf-8")
    assert ">2.png</span>" in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,a\np/0.png,1\n", "no column 'b'"),
        ("file,a,b\np/0.png,1,none\n", "line 2"),
        ("file,a,b\np/0.png,1\n", "line 2: 2 values"),
        ("file,a,b\n", "names no picture"),
        ("", "no column 'a'"),
    ],
)
def test_a_csv_without_the_numbers_is_refused(folder, text, said):
    (folder / "n.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        table.read(folder / "n.csv", ("a", "b"))


def test_a_csv_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        table.read(tmp_path / "no.csv", ("a",))
