import numpy as np
import pytest

from lamina.core.errors import DataError
from lamina.explain import Mistake, find_mistakes, mistakes_figure

PROBS = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.05, 0.95]])
LABELS = np.array([0, 1, 0, 1, 0])  # wrong: 1 (0.6), 2 (0.8), 4 (0.95)


def test_the_most_confident_mistakes_come_first():
    assert find_mistakes(PROBS, LABELS) == (
        Mistake(4, predicted=1, truth=0, confidence=0.95),
        Mistake(2, predicted=1, truth=0, confidence=0.8),
        Mistake(1, predicted=0, truth=1, confidence=0.6),
    )


def test_equal_confidence_keeps_the_order_of_the_data():
    found = find_mistakes(np.array([[0.8, 0.2]] * 4), np.ones(4, int))
    assert [mistake.index for mistake in found] == [0, 1, 2, 3]


def test_limit_keeps_the_most_confident():
    assert [mistake.index for mistake in find_mistakes(PROBS, LABELS, limit=2)] == [4, 2]


def test_the_prediction_stands_at_the_upper_left_and_the_truth_at_the_lower_right():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 28, 28), np.uint8)
    figure = mistakes_figure(images, find_mistakes(PROBS, LABELS), classes=("no", "yes"), columns=2)
    assert len(figure.axes) == 3
    figure.canvas.draw()
    for axes, (index, said, truth) in zip(
        figure.axes, [(4, "yes", "no"), (2, "yes", "no"), (1, "no", "yes")], strict=True
    ):
        picture = axes.images[0]
        assert (np.asarray(picture.get_array()) == index).all()
        box = picture.get_window_extent()
        middle_x, middle_y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        upper_left, lower_right = (text.get_window_extent() for text in axes.texts)
        assert [text.get_text() for text in axes.texts] == [said, truth]
        assert box.x0 <= upper_left.x0 < middle_x
        assert middle_y < upper_left.y1 <= box.y1
        assert middle_x < lower_right.x1 <= box.x1
        assert box.y0 <= lower_right.y0 < middle_y


def test_a_class_name_is_no_formula():
    figure = mistakes_figure(np.zeros((1, 1, 4, 4), np.uint8), [Mistake(0, 0, 1, 0.5)], classes=("$a", "$\\frac"))
    figure.canvas.draw()  # would raise on the broken formula
    assert figure.axes[0].texts[1].get_text() == "$\\frac"


def test_no_mistake_gives_a_figure_that_says_so():
    figure = mistakes_figure(np.zeros((1, 1, 4, 4), np.uint8), [], classes=("a", "b"))
    assert [text.get_text() for text in figure.texts] == ["no mistakes"]


def test_images_of_another_data_set_are_refused():
    with pytest.raises(DataError, match=r"image 9, but 5 images.*whole data set.*data.images"):
        mistakes_figure(np.zeros((5, 1, 4, 4), np.uint8), [Mistake(9, 0, 1, 0.5)], classes=("a", "b"))
