"""The pictures behind each cell of a confusion matrix, and the links that lead to them."""

import re

import numpy as np
import pytest

from lamina.explain import confusion_matrix, html, most_confused
from lamina.explain.cells import cell_panels


def block(num_classes, wrong):
    """The matrix with its panels, where the first `wrong` pictures are taken for the next class."""
    labels = np.arange(5 * num_classes) % num_classes
    probs = np.eye(num_classes)[np.where(np.arange(len(labels)) < wrong, (labels + 1) % num_classes, labels)]
    told = {"classes": [str(index) for index in range(num_classes)]}
    panels, linked = cell_panels(np.zeros((len(labels), 1, 2, 2), np.uint8), probs, labels, **told)
    counts = confusion_matrix(probs, labels)
    confused = [pair for pair in most_confused(counts) if pair.count > 1]
    return html.confusion_block(counts, confused=confused, linked=linked, **told) + panels


@pytest.mark.parametrize(("num_classes", "wrong"), [(50, 120), (45, 20), (200, 900)])
def test_all_pictures_behind_a_large_matrix_can_be_reached(num_classes, wrong):
    text = block(num_classes, wrong)
    panels = re.findall(r'id="(cell-[\d-]+)"', text)
    assert len(panels) == min(num_classes, wrong) > 10
    assert set(re.findall(r'href="#(cell-[\d-]+)"', text)) == set(panels)
    unfolded = text[text.index(f"<summary>{len(panels)} confused pairs with pictures</summary>") :]
    assert set(re.findall(r'href="#(cell-[\d-]+)"', unfolded)) == set(panels), "one list has all of them"


def test_a_matrix_that_is_a_table_has_no_other_list():
    text = block(20, 60)
    assert "confused pairs with pictures" not in text
    assert set(re.findall(r'href="#(cell-[\d-]+)"', text)) == set(re.findall(r'id="(cell-[\d-]+)"', text))
