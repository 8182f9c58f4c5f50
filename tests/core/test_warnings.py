"""A warning names the line of the user's that led to it."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina import layers, models
from lamina.data import ImageDataset

PACKAGE = Path(lamina.__file__).parent


def line_of(caught: list[warnings.WarningMessage]) -> str:
    """The one warning's line of source, which has to lie in this file."""
    (warning,) = caught
    assert warning.filename == __file__
    return Path(__file__).read_text().splitlines()[warning.lineno - 1].strip()


def test_a_model_names_the_line_that_called_it() -> None:
    model = models.Sequential([layers.Flatten(input_shape=(1, 4, 4)), layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.full((4, 1, 4, 4), 200, np.uint8), np.arange(4) % 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y, verbose=0)
    assert line_of(caught) == "model.fit(x, y, verbose=0)"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.evaluate(x, y)
    assert line_of(caught) == "model.evaluate(x, y)"


def test_a_folder_names_the_line_that_opened_it_and_the_line_that_read_it(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "train/b/2.png", "extra/a/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), len(name)).save(tmp_path / name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train = lamina.data.open(tmp_path).train
    assert line_of(caught) == "train = lamina.data.open(tmp_path).train"
    (tmp_path / "train/b/2.png").write_bytes(b"broken")
    classifier = lamina.Classifier("fastconvnet", preprocess=lamina.Preprocess(channels=1, size=(28, 28)))
    known = ImageDataset(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), ("a", "b"))
    classifier.fit(known, validation_split=0.0, verbose=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier.evaluate(train)
    assert line_of(caught) == "classifier.evaluate(train)"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_file_warns_by_another_way(path: Path) -> None:
    if path.relative_to(PACKAGE).as_posix() == "core/warnings.py":
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if ast.unparse(call.func) == "warnings.warn"] == []


def test_a_package_whose_name_begins_like_ours_is_the_users() -> None:
    code = compile("from lamina.core.warnings import warn\nwarn('told')", f"{PACKAGE}_of_mine/own.py", "exec")
    with pytest.warns(UserWarning, match="told") as caught:
        exec(code, {"__name__": "own"})
    assert caught[0].filename == f"{PACKAGE}_of_mine/own.py"
