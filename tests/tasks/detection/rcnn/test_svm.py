"""The SVMs: hard negatives find what all negatives would, and only clear ones are forgotten."""

import sys

import numpy as np
import pytest
import torch

from lamina.core.errors import DataError, MissingExtraError
from lamina.tasks.detection.rcnn.svm import NEVER, Lazily, LinearSVMs, Regions

sklearn_svm = pytest.importorskip("sklearn.svm")


def pictures(count=12, regions=60, dim=6, seed=0):
    """Two classes along two directions, and much that is neither."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        features = torch.randn(regions, dim, generator=generator)
        truths = torch.full((regions,), -1)
        truths[:2] = torch.tensor([0, 1])
        features[0, 0] += 6
        features[1, 1] += 6
        overlaps = torch.rand(regions, 2, generator=generator) * 0.25
        overlaps[torch.arange(2), torch.arange(2)] = 1.0
        overlaps[2] = 0.5  # neither positive nor negative, whatever it looks like
        features[2] = 100.0
        made.append(Regions(features, overlaps, truths))
    return made


def test_hard_negatives_teach_what_all_of_them_would():
    told = pictures()
    svms = LinearSVMs(["a", "b"], retrain_after=40, passes=3).fit(told)
    assert svms.trainings > 4
    features = torch.cat([each.features for each in told]) * svms.scale
    for label in range(2):
        positive = torch.cat([each.truths == label for each in told])
        negative = torch.cat([each.overlaps[:, label] < 0.3 for each in told])
        used = positive | negative
        whole = sklearn_svm.LinearSVC(
            C=1e-3,
            loss="hinge",
            class_weight={1: 2.0, -1: 1.0},
            intercept_scaling=10.0,
            max_iter=100_000,
            random_state=0,
        ).fit(features[used].double().numpy(), np.where(positive[used], 1, -1))
        apart = torch.nn.functional.cosine_similarity(
            svms.weights[label], torch.from_numpy(whole.coef_[0]).float(), dim=0
        )
        assert apart > 0.98


def test_what_is_annotated_is_seen_in_new_pictures_and_background_is_not():
    svms = LinearSVMs(["a", "b"]).fit(pictures())
    for each in pictures(4, seed=9):
        scores = svms.scores(each.features)
        assert scores[0].argmax() == 0
        assert scores[1].argmax() == 1
        assert (scores[3:] < scores[torch.arange(2), torch.arange(2)]).all()


def test_features_are_brought_to_the_length_of_the_papers_code():
    told = pictures()
    svms = LinearSVMs(["a", "b"]).fit(told)
    lengths = torch.cat([each.features for each in told]).norm(dim=1) * svms.scale
    assert float(lengths.mean()) == pytest.approx(20.0, rel=1e-4)


def test_a_class_without_an_example_is_warned_of_and_never_found():
    with pytest.warns(UserWarning, match="No box of c is annotated"):
        svms = LinearSVMs(["a", "b", "c"]).fit(
            [each._replace(overlaps=torch.cat([each.overlaps, torch.zeros(60, 1)], 1)) for each in pictures()]
        )
    assert (svms.scores(torch.randn(5, 6))[:, 2] == NEVER).all()


def test_pictures_are_asked_for_one_after_the_other():
    told, asked = pictures(3), []
    LinearSVMs(["a", "b"]).fit(Lazily(3, lambda index: asked.append(index) or told[index]))
    assert asked == [0, 1, 2, 0, 1, 2]


def test_no_annotated_box_at_all_is_an_error():
    with pytest.raises(DataError, match="2 pictures came, and none has an annotated box"):
        LinearSVMs(["a", "b"]).fit([each._replace(truths=torch.full((60,), -1)) for each in pictures(2)])


def test_without_scikit_learn_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(MissingExtraError, match=r"lamina\[detection\]"):
        LinearSVMs(["a"]).fit([])
