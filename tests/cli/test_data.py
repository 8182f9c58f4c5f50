"""`lamina data`."""

import json

import numpy as np
import pytest
from PIL import Image


def size(path):
    with Image.open(path) as picture:
        return picture.width * picture.height


@pytest.fixture
def at(typed_in, tmp_path):
    """A terminal in a folder with pictures of two classes."""
    for number in range(4):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 20, 3), 60 * number, np.uint8)).save(folder / f"{number}.png")
    return typed_in(tmp_path)


def test_samples_are_written_as_a_picture(at, tmp_path):
    code, out, err = at("data", "show", "photos", "--count", "3", "-o", "sheets/grid.png")
    assert (code, err) == (0, "")
    assert "4 train; for classification, 2 classes (image_folder: 2 folders hold pictures (a, b))" in out
    alone = size(tmp_path / "sheets" / "grid.png")
    assert alone > 200 * 200
    assert at("data", "show", "photos", "--count", "3", "--augment", "flip,rand", "--part", "train")[0] == 0
    assert size(tmp_path / "samples.png") > 1.4 * alone


def test_a_data_set_is_told_in_numbers(at, tmp_path):
    code, out, _ = at("data", "info", "photos", "-o", "balance.png")
    assert code == 0
    assert "pictures     4 (4 train)" in out
    assert "a         2" in out
    assert size(tmp_path / "balance.png") > 300 * 100
    told = json.loads(at("data", "info", "photos", "--json")[1])
    assert told["parts"]["train"]["counts"] == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["show", "photos", "--count", "9"], 1, "9 samples are asked for, and the data set has 4."),
        (["show", "photos", "--part", "tests"], 2, "There is no part called 'tests'."),
        (["show", "photos", "--format", "cocoa"], 2, "'coco'"),
        (["show", "photos", "--augment", "flop"], 2, "'flip'"),
        (["show", "photos", "-o", "grid.bmp"], 2, "ends in .png"),
        (["show", "nowhere"], 2, "There is no data set called 'nowhere', and no folder"),
        (["show", "no/where"], 1, "is not there."),
        (["info", "photos", "-o", "a.jpg"], 2, "ends in .png"),
    ],
)
def test_what_is_wrong_is_told_without_a_traceback(at, words, code, text):
    ended, _, err = at("data", *words)
    assert ended == code
    assert text in err
    assert "Traceback" not in err


def test_cells_have_the_size_that_is_asked_for(at, tmp_path):
    assert at("data", "show", "photos", "--count", "1", "--size", "600")[0] == 0
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width > 600
    assert at("data", "show", "photos", "--size", "9")[0] == 2
