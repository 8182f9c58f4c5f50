import numpy as np
import pytest

from lamina.core.errors import ShapeError
from lamina.explain import Confusion, confusion_figure, confusion_matrix, most_confused
from lamina.explain.confusion import shading

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 1, 1, 1, 0, 2])
COUNTS = np.array([[1, 2, 0], [1, 1, 0], [0, 0, 1]])


def test_rows_are_the_truth_and_columns_the_prediction():
    assert np.array_equal(confusion_matrix(np.eye(3)[PREDICTED], LABELS), COUNTS)


def test_classes_without_samples_have_rows_too():
    assert np.array_equal(confusion_matrix(np.eye(4)[[0, 1]], np.array([0, 0])).sum(axis=1), [2, 0, 0, 0])


def test_the_most_confused_pairs_come_first_and_pairs_never_confused_not_at_all():
    assert most_confused(COUNTS) == (Confusion(0, 1, 2, 2 / 3), Confusion(1, 0, 1, 0.5))
    assert most_confused(COUNTS, limit=1) == (Confusion(0, 1, 2, 2 / 3),)
    assert most_confused(np.eye(3, dtype=int)) == ()


def test_shades_mistakes_beside_the_worst_of_them():
    shades = shading(np.array([[96, 4, 0], [1, 99, 0], [0, 0, 0]]))
    assert shades[0, 1] == 1
    assert shades[1, 0] == pytest.approx(0.5)  # a quarter as often; shaded by the root
    assert shades[0, 0] == pytest.approx(0.96)
    assert shades[2].tolist() == [0, 0, 0]
    assert shading(np.eye(2, dtype=int)).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("count", [2, 10, 20, 21, 41, 300])
def test_any_number_of_classes_can_be_drawn_with_as_much_text_as_can_be_read(count):
    counts = np.eye(count, dtype=int) * 9
    counts[0, 1] = 3
    figure = confusion_figure(counts, classes=[f"class {k}" for k in range(count)])
    figure.canvas.draw()
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert len(axes.get_xticklabels()) == (count if count <= 40 else 0)
    assert len(axes.texts) == (count + 1 if count <= 20 else 0)
    if count <= 20:
        assert ("3", (1, 0)) in [(text.get_text(), text.get_position()) for text in axes.texts]


def test_names_and_matrix_must_fit():
    with pytest.raises(ShapeError, match=r"2 class names for 3 classes.*one name"):
        confusion_figure(COUNTS, classes=("a", "b"))
    with pytest.raises(ShapeError, match=r"shape \(2, 3\).*a row and a column.*confusion_matrix"):
        most_confused(COUNTS[:2])
