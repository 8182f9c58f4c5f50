"""Confident learning: which labels are wrong, counted from probabilities that a model gave to pictures it had not learnt.

Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70. Rows are the
labels that were given, columns the true ones. Probabilities (N K), labels (N).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

from lamina.core.errors import unknown_name

Prune = Literal["both", "class", "noise_rate"]
PRUNES: tuple[Prune, ...] = ("both", "class", "noise_rate")

_ROUNDING = 1e-9  # the mean of equal numbers may lie above them by the last bit
_ROWS = 1 << 16  # looked at at once, so that a million rows of a thousand classes are never copied whole


def thresholds(probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " N"]) -> Float[np.ndarray, " K"]:
    """How sure of a class the model is on average where it is the label (eq. 2); infinite for a class that no label names."""
    own = probs[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=probs.shape[1])
    sums = np.bincount(labels, weights=own, minlength=probs.shape[1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def confident_joint(probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, "K K"]:
    """How many samples of label i count surely as class j: the most probable of the classes that reach their threshold (eq. 1).

    A sample that reaches none counts nowhere.
    """
    least, size = thresholds(probs, labels) - _ROUNDING, probs.shape[1]
    counts = np.zeros(size * size, np.int64)
    for start in range(0, len(labels), _ROWS):
        rows, given = probs[start : start + _ROWS], labels[start : start + _ROWS]
        sure = rows >= least
        likely = np.where(sure, rows, -1.0).argmax(axis=1)
        some = sure.any(axis=1)
        counts += np.bincount(given[some] * size + likely[some], minlength=size * size)
    return counts.reshape(size, size)


def calibrated(counts: Int64[np.ndarray, "K K"], labels: Int64[np.ndarray, " N"]) -> Float[np.ndarray, "K K"]:
    """The confident joint with each row scaled to the number of samples that bear its label (numerator of eq. 3).

    Of a label of which no sample counted surely nothing is known: its samples are taken to be right.
    """
    given = np.bincount(labels, minlength=len(counts))
    sure = counts.sum(axis=1)
    scaled = counts * (given / np.maximum(sure, 1))[:, None]
    np.fill_diagonal(scaled, np.where(sure > 0, scaled.diagonal(), given))
    return np.asarray(scaled)


def joint(probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " N"]) -> Float[np.ndarray, "K K"]:
    """The share of all samples with label i that are truly class j (eq. 3); the entries sum to 1."""
    return np.asarray(calibrated(confident_joint(probs, labels), labels) / len(labels))


def suspects(
    probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " N"], *, prune: Prune = "noise_rate"
) -> Bool[np.ndarray, " N"]:
    """Which labels are probably wrong (section 4.2 of the paper, methods 3 to 5).

    prune "class": of each label as many as the joint says are wrong, the least self-confident ones. "noise_rate": for each
    two classes as many as the joint says, those with the greatest margin of the other class; the default, for on MNIST it found
    most at about equal precision (benchmarks/label_errors.py). "both": who is in both, fewer and surer.
    A label that is itself the most probable class is never suspect, whatever the joint says; the paper has no such rule.
    """
    if prune not in PRUNES:
        raise unknown_name("way to prune", prune, PRUNES)
    wrong = calibrated(confident_joint(probs, labels), labels)
    np.fill_diagonal(wrong, 0.0)
    own = probs[np.arange(len(labels)), labels]
    found: Bool[np.ndarray, " N"] = likely(probs, labels)[1] > own
    if prune != "noise_rate":
        found &= _by_class(own, labels, wrong)
    if prune != "class":
        found &= _by_noise_rate(probs, own, labels, wrong)
    return found


def likely(
    probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " N"]
) -> tuple[Int64[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The most probable class other than the label, and its probability."""
    classes, values = np.empty(len(labels), np.int64), np.empty(len(labels), probs.dtype)
    for start in range(0, len(labels), _ROWS):
        rows = probs[start : start + _ROWS].copy()
        every = np.arange(len(rows))
        rows[every, labels[start : start + _ROWS]] = -1.0
        classes[start : start + _ROWS] = best = rows.argmax(axis=1)
        values[start : start + _ROWS] = rows[every, best]
    return classes, values


def _by_class(
    own: Float[np.ndarray, " N"], labels: Int64[np.ndarray, " N"], wrong: Float[np.ndarray, "K K"]
) -> Bool[np.ndarray, " N"]:
    found = np.zeros(len(labels), bool)
    for label, count in enumerate(np.rint(wrong.sum(axis=1)).astype(int)):
        members = np.flatnonzero(labels == label)
        found[members[np.argsort(own[members], kind="stable")[:count]]] = True
    return found


def _by_noise_rate(
    probs: Float[np.ndarray, "N K"],
    own: Float[np.ndarray, " N"],
    labels: Int64[np.ndarray, " N"],
    wrong: Float[np.ndarray, "K K"],
) -> Bool[np.ndarray, " N"]:
    found = np.zeros(len(labels), bool)
    numbers = np.rint(wrong).astype(int)
    for label in np.flatnonzero(numbers.any(axis=1)):
        members = np.flatnonzero(labels == label)
        for other in np.flatnonzero(numbers[label]):
            margin = probs[members, other] - own[members]
            found[members[np.argsort(-margin, kind="stable")[: numbers[label, other]]]] = True
    return found
