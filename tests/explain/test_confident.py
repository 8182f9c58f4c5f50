"""Confident learning by the paper's formulas, written out slowly, and its worked example."""

from __future__ import annotations

import numpy as np
import pytest

from lamina.core.errors import UnknownNameError
from lamina.explain import confident

GENERATOR = np.random.default_rng(0)

# Northcutt 2021, figure 1: labels dog, fox, cow; the confident joint and the joint estimated from it.
PAPER_COUNTS = np.array([[100, 40, 20], [56, 60, 0], [32, 12, 80]])
PAPER_JOINT = np.array([[0.25, 0.10, 0.05], [0.14, 0.15, 0.00], [0.08, 0.03, 0.20]])


def answers(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One sure answer for each count: label i, and all of the probability on class j."""
    pairs = [(i, j) for (i, j), count in np.ndenumerate(counts) for _ in range(count)]
    return np.eye(len(counts))[[j for _, j in pairs]], np.array([i for i, _ in pairs])


def noisy(count: int = 300, classes: int = 4, *, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Answers that favour the truth, and labels of which a share is wrong."""
    truth = GENERATOR.integers(classes, size=count)
    logits = GENERATOR.normal(size=(count, classes)) + 2.5 * np.eye(classes)[truth]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    flipped = (truth + GENERATOR.integers(1, classes, size=count)) % classes
    return probs, np.where(GENERATOR.random(count) < share, flipped, truth)


def slow_thresholds(probs: np.ndarray, labels: np.ndarray) -> list[float]:
    return [float(np.mean([p[j] for p, y in zip(probs, labels, strict=True) if y == j])) for j in range(probs.shape[1])]


def slow_joint_counts(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    least, counts = slow_thresholds(probs, labels), np.zeros((probs.shape[1],) * 2, int)
    for p, y in zip(probs, labels, strict=True):
        sure = [j for j in range(len(p)) if p[j] >= least[j] - 1e-9]
        if sure:
            counts[y, max(sure, key=lambda j: p[j])] += 1
    return counts


def slow_suspects(probs: np.ndarray, labels: np.ndarray, *, prune: str) -> set[int]:
    counts, found = slow_joint_counts(probs, labels), []
    size = len(counts)
    scaled = [[counts[i, j] / counts[i].sum() * (labels == i).sum() for j in range(size)] for i in range(size)]
    by_class, by_rate = set(), set()
    for i in range(size):
        members = [n for n, y in enumerate(labels) if y == i]
        wrong = round(sum(scaled[i][j] for j in range(size) if j != i))
        by_class |= set(sorted(members, key=lambda n: probs[n, i])[:wrong])
        for j in range(size):
            if j != i:
                by_rate |= set(sorted(members, key=lambda n: probs[n, i] - probs[n, j])[: round(scaled[i][j])])
    found = {"class": by_class, "noise_rate": by_rate, "both": by_class & by_rate}[prune]
    return {n for n in found if probs[n].argmax() != labels[n]}


def test_the_papers_worked_example_has_its_counts_and_its_joint() -> None:
    # Every label names its class at least once with certainty, so thresholds lie below 1 and each answer counts.
    probs, labels = answers(PAPER_COUNTS)
    assert np.array_equal(confident.confident_joint(probs, labels), PAPER_COUNTS)
    np.testing.assert_allclose(confident.joint(probs, labels), PAPER_JOINT)


def test_rows_of_the_joint_are_scaled_to_the_labels_not_to_the_sure_answers() -> None:
    labels = np.repeat([0, 1, 2], [800, 116, 124])  # five times as many dogs as were counted
    scaled = confident.calibrated(PAPER_COUNTS, labels)
    np.testing.assert_allclose(scaled[0], [500, 200, 100])
    np.testing.assert_allclose(scaled[1:], PAPER_COUNTS[1:])


def test_thresholds_are_the_mean_confidence_in_the_own_label() -> None:
    probs = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    assert confident.thresholds(probs, np.array([0, 0, 1])).tolist() == pytest.approx([0.7, 0.8])


def test_an_answer_that_reaches_no_threshold_counts_nowhere_and_of_two_the_more_probable_counts() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4], [0.1, 0.6, 0.3], [0.1, 0.2, 0.7], [0.33, 0.33, 0.34]])
    labels = np.array([0, 0, 1, 2, 2])  # thresholds 0.4, 0.6, 0.52
    assert confident.confident_joint(probs, labels).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    probs = np.array(
        [[0.3, 0.7], [0.4, 0.6], [0.9, 0.1], [0.2, 0.8]]
    )  # thresholds 0.35 and 0.45: the second row reaches both
    assert confident.confident_joint(probs, np.array([0, 0, 1, 1])).tolist() == [[0, 2], [1, 1]]


def test_equal_answers_reach_the_mean_of_themselves() -> None:
    probs = np.tile([0.1, 0.9], (3, 1))  # (0.1 + 0.1 + 0.1) / 3 is more than 0.1
    assert confident.confident_joint(probs, np.zeros(3, int)).tolist() == [[3, 0], [0, 0]]


@pytest.mark.parametrize("prune", confident.PRUNES)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_equals_the_formulas_written_out(prune: confident.Prune, classes: int) -> None:
    probs, labels = noisy(classes=classes)
    assert np.array_equal(confident.confident_joint(probs, labels), slow_joint_counts(probs, labels))
    found = set(np.flatnonzero(confident.suspects(probs, labels, prune=prune)).tolist())
    assert found == slow_suspects(probs, labels, prune=prune)
    assert len(found) > 20


def test_rows_are_looked_at_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = noisy()
    whole = confident.confident_joint(probs, labels), confident.likely(probs, labels)
    monkeypatch.setattr(confident, "_ROWS", 7)
    assert np.array_equal(confident.confident_joint(probs, labels), whole[0])
    for part, expected in zip(confident.likely(probs, labels), whole[1], strict=True):
        assert np.array_equal(part, expected)


def test_a_class_that_no_label_names_takes_no_part() -> None:
    probs, labels = noisy(classes=3)
    probs, labels = np.insert(probs, 1, 0.0, axis=1), np.where(labels > 0, labels + 1, 0)
    counts = confident.confident_joint(probs, labels)
    assert counts[1].sum() == counts[:, 1].sum() == 0
    shares = confident.joint(probs, labels)
    assert shares.sum() == pytest.approx(1)
    assert np.isfinite(shares).all()


def test_a_label_without_a_sure_sample_is_taken_to_be_right() -> None:
    counts = np.array([[3, 1], [0, 0]])
    scaled = confident.calibrated(counts, np.array([0] * 8 + [1] * 5))
    assert scaled.tolist() == [[6, 2], [0, 5]]


def test_a_label_that_is_the_most_probable_class_is_never_suspect() -> None:
    """One of four sure samples of label 0 is of class 1, so by the joint a quarter of ten; but only one looks like it."""
    probs = np.array([[0.99, 0.01]] * 3 + [[0.51, 0.49]] * 6 + [[0.0, 1.0]] + [[0.0, 1.0]] * 4)
    labels = np.repeat([0, 1], [10, 4])
    assert confident.calibrated(confident.confident_joint(probs, labels), labels).tolist() == [[7.5, 2.5], [0, 4]]
    for prune in confident.PRUNES:
        assert np.flatnonzero(confident.suspects(probs, labels, prune=prune)).tolist() == [9]


def test_an_unknown_way_to_prune_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="'both'"):
        confident.suspects(*noisy(), prune="all")  # type: ignore[arg-type]
