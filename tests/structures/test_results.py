import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lamina.core.errors import LaminaError, ShapeError
from lamina.structures import Classification, Labelling, Regression
from lamina.structures.results import NONE, percent

CLASSES = ("cat", "dog", "<b>fox</b>")
IMAGE = np.full((3, 8, 8), 200, np.uint8)


def result(**more):
    return Classification(CLASSES, np.array([0.2, 0.7, 0.1], np.float32), **more)


def test_names_the_most_probable_class():
    assert (result().label, result().index, result().probability) == ("dog", 1, pytest.approx(0.7))


def test_top_is_sorted_and_no_longer_than_there_are_classes():
    assert [name for name, _ in result().top(5)] == ["dog", "cat", "<b>fox</b>"]
    assert result().top(1) == [("dog", pytest.approx(0.7))]


def test_prints_path_label_and_the_runners_up():
    assert str(result(path="a.jpg")) == "a.jpg: dog 70.00 % (or cat 20.00 %, <b>fox</b> 10.00 %)"
    assert str(Classification(("a", "b"), np.array([0.999, 0.001]))) == "a 99.90 %"


def test_becomes_json():
    told = json.loads(json.dumps(result(path="a.jpg", image=IMAGE).to_dict(top=2)))
    assert (told["path"], told["label"], told["index"]) == ("a.jpg", "dog", 1)
    assert [entry["label"] for entry in told["top"]] == ["dog", "cat"]
    assert told["top"][0]["probability"] == told["probability"] == pytest.approx(0.7)
    assert "path" not in result().to_dict()


def test_html_escapes_class_names_and_holds_the_picture():
    page = result(image=IMAGE)._repr_html_()
    HTMLParser().feed(page)
    assert "&lt;b&gt;fox" in page
    assert "<b>fox" not in page
    assert 'src="data:image/png;base64,' in page


def test_draws_its_picture_with_the_class_below():
    drawn = result(image=IMAGE).draw(side_px=64)
    assert drawn.mode == "RGB"
    assert drawn.height > 64
    pixels = np.asarray(drawn)
    assert (pixels[20, 40] == 200).all()  # inside the picture
    below = pixels[64 + 12 :]
    assert (below.min(axis=(0, 1)) < 60).all()  # ink of the caption


def test_draws_from_its_path(tmp_path):
    Image.new("L", (5, 9), 77).save(tmp_path / "a.png")
    assert result(path=str(tmp_path / "a.png")).draw().size[0] >= 256


def test_without_a_picture_drawing_says_what_is_missing():
    with pytest.raises(ShapeError, match=r"no picture.*image or the path.*image="):
        result().draw()


@pytest.mark.parametrize("probs", [np.ones(2), np.ones((1, 3)), np.ones(0)])
def test_refuses_probs_of_another_shape_than_the_classes(probs):
    with pytest.raises(ShapeError, match=r"shape .* beside 3 classes.*one probability for each class.*one row"):
        Classification(CLASSES, probs)


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100.00 %"), (0.99999, "> 99.99 %"), (0.0, "0.00 %"), (1e-6, "< 0.01 %"), (0.99376, "99.38 %")],
)
def test_percent_never_rounds_to_certainty(share, text):
    assert percent(share) == text


def test_below_the_threshold_the_answer_is_none_of_these():
    low = result(path="a.jpg", threshold=0.75, image=IMAGE)
    assert (low.label, low.is_known) == (NONE, False)
    assert str(low) == "a.jpg: none of these (nearest: dog 70.00 %)"
    told = json.loads(json.dumps(low.to_dict(top=1)))
    assert (told["label"], told["index"], told["threshold"]) == (NONE, None, 0.75)
    assert told["probability"] == pytest.approx(0.7)
    assert NONE in low._repr_html_()
    assert low.draw().tobytes() != result(image=IMAGE).draw().tobytes()
    assert result(threshold=0.7 - 1e-6).label == "dog"
    with pytest.raises(LaminaError, match="threshold is 2"):
        result(threshold=2)


def test_several_labels_are_those_of_at_least_the_threshold():
    probs = np.array([0.2, 0.7, 0.6])
    several = Labelling(CLASSES, probs, path="a.jpg", image=IMAGE)
    assert list(several.labels) == ["dog", "<b>fox</b>"]
    assert str(several) == "a.jpg: dog 70.00 %, <b>fox</b> 60.00 %"
    assert json.loads(json.dumps(several.to_dict()))["labels"] == pytest.approx({"dog": 0.7, "<b>fox</b>": 0.6})
    assert "<b>dog</b>" in several._repr_html_()
    assert "&lt;b&gt;fox" in several._repr_html_()
    assert several.draw().mode == "RGB"
    none = Labelling(CLASSES, probs, threshold=0.9)
    assert str(none) == "none of these (nearest: dog 70.00 %)"
    with pytest.raises(ShapeError, match="no picture"):
        none.draw()


def test_numbers_have_names_and_a_unit_of_their_own():
    numbers = Regression(("height", "width"), np.array([12.5, 3.0], np.float32), path="a.jpg", image=IMAGE)
    assert str(numbers) == "a.jpg: height 12.5, width 3"
    assert (float(numbers), numbers["width"]) == (12.5, 3.0)
    assert json.loads(json.dumps(numbers.to_dict())) == {"path": "a.jpg", "values": {"height": 12.5, "width": 3.0}}
    assert numbers.draw().mode == "RGB"
    with pytest.raises(ShapeError, match="2 names"):
        Regression(("height", "width"), np.array([1.0]))
