import json
import math

import numpy as np
import pytest

from lamina.core.errors import ShapeError
from lamina.explain import class_scores, top_accuracy
from lamina.explain.scores import wilson_interval

COUNTS = np.array([[5, 1, 0, 0], [2, 6, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
NAMES = ("a", "b", "never said", "absent")


def test_precision_recall_and_f1_by_hand():
    scores = class_scores(COUNTS, classes=NAMES)
    a, b, never, _ = scores.classes
    assert (a.precision, a.recall, a.support) == (5 / 7, 5 / 6, 6)
    assert a.f1 == pytest.approx(2 * (5 / 7) * (5 / 6) / (5 / 7 + 5 / 6))
    assert (b.precision, b.recall, b.support) == (6 / 8, 6 / 8, 8)
    assert math.isnan(never.precision)
    assert (never.recall, never.f1) == (0, 0)


def test_accuracy_counts_samples_and_mistakes():
    scores = class_scores(COUNTS, classes=NAMES)
    assert (scores.accuracy, scores.mistakes, scores.count) == (11 / 15, 4, 15)
    assert str(scores) == "73.33 % right: 4 mistakes in 15 samples"


def test_becomes_json_without_nan():
    told = json.loads(json.dumps(class_scores(COUNTS, classes=NAMES).to_dict(), allow_nan=False))
    assert told["classes"][2]["precision"] is None
    assert told["classes"][3] == {"name": "absent", "precision": None, "recall": None, "f1": None, "support": 0}


def test_wilsons_interval_as_published():
    low, high = wilson_interval(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(10, 10)[1] == pytest.approx(1)
    assert wilson_interval(0, 10)[0] == pytest.approx(0)


def test_top_accuracy_counts_a_truth_among_the_best():
    probs = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    labels = np.array([0, 1, 2])
    assert [top_accuracy(probs, labels, count=k) for k in (1, 2, 3, 9)] == [1 / 3, 2 / 3, 1, 1]


def test_refuses_other_names_than_classes():
    with pytest.raises(ShapeError, match="2 class names for 4 classes"):
        class_scores(COUNTS, classes=("a", "b"))
