"""`lamina report` on the run of a regressor: its numbers come in a CSV."""

import numpy as np
import pytest
import torch
from PIL import Image

import lamina


@pytest.fixture
def run(tmp_path):
    """The folder of a run, beside a folder of pictures with ages.csv."""
    torch.manual_seed(0)
    (tmp_path / "photos").mkdir()
    for at in range(4):
        Image.fromarray(np.full((8, 8), 60 * at, np.uint8)).save(tmp_path / "photos" / f"{at}.png")
    ages = {f"{at}.png": 10.0 * at for at in range(4)}
    (tmp_path / "photos" / "ages.csv").write_text(
        "file,age\n" + "".join(f"{name},{age}\n" for name, age in ages.items())
    )
    model = lamina.Regressor("lenet5", names=["age"], preprocess=lamina.Preprocess(channels=1, size=(32, 32)))
    model.fit(tmp_path / "photos", ages, epochs=1, verbose=0, validation_split=0.0, run=tmp_path / "run")
    return tmp_path / "run"


def test_the_report_of_a_regressor_is_written_with_its_curves(run, typed_in):
    code, out, _ = typed_in(run.parent)("report", str(run), str(run.parent / "photos" / "ages.csv"))
    assert code == 0
    assert out.strip() == str(run / "report.html")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "4 pictures, 1 number" in page
    for heading in ("Predicted against true", "Residuals", "Learning curves"):
        assert f"<h2>{heading}</h2>" in page
    assert "<h3>RMSE</h3>" in page


def test_without_numbers_it_says_what_they_are_to_look_like(run, typed_in):
    code, _, told = typed_in(run.parent)("report", str(run))
    assert code != 0
    assert "these columns: file, age." in told
    assert "numbers.csv" in told
