"""Whether a model is as often right as it says: reliability, expected calibration error, Brier score, temperature.

Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", ICML. Probabilities (N K); labels (N), or with
several labels a picture 0 or 1 for each class (N K), where every entry is an answer of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

from lamina.core.errors import DataError, unknown_name
from lamina.core.warnings import warn
from lamina.explain.answers import as_numpy, checked, checked_several, class_probs
from lamina.explain.scores import wilson_interval

By = Literal["width", "count"]
BINS = 15  # as in the paper

_LOWEST, _HIGHEST = 0.02, 50.0  # temperatures
_MOST_STEPS = 60  # of Newton's method, which takes about six
_ROWS, _COLUMNS = 1024, 64  # looked at at once: a cache holds them
_TINY = float(np.finfo(np.float32).tiny)  # the least probability that a logarithm is taken of


@dataclass(frozen=True)
class Bin:
    """Answers of nearly one confidence: how many, their mean confidence, the share that is right and its 95 % interval."""

    count: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """How well confidence and accuracy agree, 0 to 1; the errors are 0 where they do.

    ece: mean over the answers of |accuracy - confidence| of their bin (Guo 2017, eq. 3), mce: the largest of a bin (eq. 5), both of
    the `bins`; classwise: the mean over the classes of the ece of their own probability (Kull 2019), NaN where no class has a
    picture; brier: mean squared distance from the truth, summed over the classes (Brier 1950; with several labels their mean);
    nll: mean negative log-likelihood in nats.
    """

    count: int
    accuracy: float
    confidence: float
    ece: float
    mce: float
    classwise: float
    brier: float
    nll: float
    bins: tuple[Bin, ...]
    by: By = "width"

    @property
    def overconfidence(self) -> float:
        """Mean confidence less accuracy: above 0 it says too much."""
        return self.confidence - self.accuracy

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs; None where a figure does not exist."""
        plain = asdict(self)
        return {name: None if value != value else value for name, value in plain.items()}

    def __str__(self) -> str:
        return (
            f"says {100 * self.confidence:.2f} %, is right in {100 * self.accuracy:.2f} %: expected calibration error "
            f"{100 * self.ece:.2f} %, largest {100 * self.mce:.2f} %, Brier score {self.brier:.4f}"
        )


@dataclass(frozen=True)
class Temperature:
    """What logits are to be divided by, and what that does to answers it was not fitted to (`before` and `after`)."""

    value: float
    before: Calibration
    after: Calibration

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs."""
        return {"value": self.value, "before": self.before.to_dict(), "after": self.after.to_dict()}

    def __str__(self) -> str:
        return (
            f"temperature {self.value:.3f}, fitted to {self.before.count:,} pictures; crosswise, each half of them with the temperature "
            f"of the other: expected calibration error {100 * self.before.ece:.2f} % -> {100 * self.after.ece:.2f} %, "
            f"log-likelihood {-self.before.nll:.4f} -> {-self.after.nll:.4f}; measure the error that stays on other pictures"
        )


def calibration(answers: Any, truth: Any, *, bins: int = BINS, by: By = "width") -> Calibration:
    """How well confidence and accuracy agree: of a model and a data set, or of probabilities (N K) and labels (N or N K).

    Bins are of equal width, or with by="count" of as many answers each (equal confidences share one). Raises DataError or
    ShapeError where the two do not fit.
    """
    if by not in ("width", "count"):
        raise unknown_name("kind of bins", by, ("width", "count"))
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise DataError(f"bins is {bins!r}.", "A whole number, at least 1, was expected.", f"Usual is {BINS}.")
    rows, labels, several = _answered(answers, truth)
    probs = rows.astype(np.result_type(rows, np.float32), copy=False)
    if not _are_probs(probs, several):
        raise DataError(
            f"The answers lie in {probs.min():.3g} .. {probs.max():.3g}, and rows add up to {probs[0].sum():.3g}.",
            "Probabilities were expected, of which each row adds up to 1 where a picture has one label.",
            "Pass `explain.class_probs(model, data)`, or of logits `torch.softmax(logits, 1)`.",
        )
    confidence, right = _said(probs, labels)
    groups = [_bin(confidence[place], right[place]) for place in _places(_numbers(confidence, bins, by))]
    gaps = np.array([abs(group.accuracy - group.confidence) for group in groups])
    shares = np.array([group.count for group in groups]) / len(confidence)
    return Calibration(
        count=len(labels),
        accuracy=float(right.mean()),
        confidence=float(confidence.mean()),
        ece=float(gaps @ shares),
        mce=float(gaps.max()),
        classwise=_classwise(probs, labels, bins, by),
        brier=_brier(probs, labels),
        nll=_nll(_logits(probs, several), labels),
        bins=tuple(groups),
        by=by,
    )


def fit_temperature(outputs: Any, labels: Any, *, seed: int = 0) -> Temperature:
    """The temperature that answers to held-out pictures should have had: the greatest likelihood (Guo 2017, section 4.2).

    outputs: logits or probabilities (N K), which are told apart by their values; labels (N), or 0 and 1 (N K); or a model and
    a data set. What it does is measured crosswise: each half of the pictures by the temperature of the other half. Without
    a mistake there is nothing to learn from: the temperature is 1, with a warning.
    """
    rows, truth, several = _answered(outputs, labels)
    rows = rows.astype(np.result_type(rows, np.float32), copy=False)
    logits = _logits(rows, several) if _are_probs(rows, several) else rows
    if len(truth) < 2:
        raise DataError(
            f"{len(truth)} answer came.", "One half of the answers is measured by the other.", "Bring more pictures."
        )
    value = _fitted(logits, truth, alone=False)
    order = np.random.default_rng(seed).permutation(len(truth))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    after = np.empty_like(logits)
    for fitted_to, measured in (halves, halves[::-1]):
        after[measured] = logits[measured] / _fitted(logits[fitted_to], truth[fitted_to], alone=True)
    return Temperature(
        value,
        before=calibration(to_probs(logits, several=several), truth),
        after=calibration(to_probs(after, several=several), truth),
    )


def to_probs(logits: Float[np.ndarray, "N K"], *, several: bool = False) -> Float[np.ndarray, "N K"]:
    """Softmax of each row, or with several labels a picture the sigmoid of each entry."""
    if several:
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _answered(answers: Any, truth: Any) -> tuple[Float[np.ndarray, "N K"], Int64[np.ndarray, " *S"], bool]:
    """Rows of answers, labels, and whether a picture has several; of a model and its data, or as they are."""
    if hasattr(truth, "labels") or hasattr(answers, "predict"):
        data = answers.memorised(truth) if hasattr(answers, "memorised") else truth
        answers, truth = class_probs(answers, data), data.labels
    several = np.ndim(as_numpy(truth)) == 2
    return (*(checked_several(answers, truth) if several else checked(answers, truth)), several)


def _said(
    probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " *S"]
) -> tuple[Float[np.ndarray, " M"], Bool[np.ndarray, " M"]]:
    """Confidence of each answer and whether it came true: of the most probable class, or of each label by itself."""
    if labels.ndim == 2:
        return probs.reshape(-1).astype(np.float64), labels.reshape(-1).astype(bool)
    return probs.max(axis=1).astype(np.float64), probs.argmax(axis=1) == labels


def _numbers(confidence: Float[np.ndarray, " M"], bins: int, by: By) -> Int64[np.ndarray, " M"]:
    """The number of the bin of each answer."""
    if by == "width":  # (0, 1/M], (1/M, 2/M] ... as in the paper
        return np.asarray(np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1), np.int64)
    edges: Float[np.ndarray, " _"] = np.quantile(confidence, np.arange(1, bins) / bins, method="higher")
    return np.asarray(np.searchsorted(np.unique(edges), confidence, side="left"), np.int64)


def _places(numbers: Int64[np.ndarray, " M"]) -> list[Int64[np.ndarray, " _"]]:
    """Which answers are in each bin that has any."""
    order = np.argsort(numbers, kind="stable")
    return [part for part in np.split(order, np.cumsum(np.bincount(numbers))[:-1]) if len(part)]


def _bin(confidence: Float[np.ndarray, " M"], right: Bool[np.ndarray, " M"]) -> Bin:
    hits = int(right.sum())
    return Bin(len(right), float(confidence.mean()), hits / len(right), wilson_interval(hits, len(right)))


def _classwise(probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " *S"], bins: int, by: By) -> float:
    errors = []
    for first in range(0, probs.shape[1], _COLUMNS):
        columns = np.ascontiguousarray(probs[:, first : first + _COLUMNS].T).astype(np.float64)
        for number, said in enumerate(columns, first):
            true = labels == number if labels.ndim == 1 else labels[:, number] == 1
            if true.any():
                gaps = np.bincount(_numbers(said, bins, by), weights=said - true)
                errors.append(np.abs(gaps).sum() / len(said))
    return float(np.mean(errors)) if errors else float("nan")


def _brier(probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " *S"]) -> float:
    if labels.ndim == 2:
        return float(((probs - labels) ** 2).mean(dtype=np.float64))
    own = probs[np.arange(len(labels)), labels].astype(np.float64)
    squares = np.einsum("nk,nk->n", probs, probs)  # the distance of a row from its one-hot truth is |p|^2 - 2 p_y + 1
    return float((squares - 2 * own + 1).mean())


def _are_probs(rows: Float[np.ndarray, "N K"], several: bool) -> bool:
    if rows.min() < 0 or rows.max() > 1 + 1e-3:
        return False
    return several or bool(np.allclose(rows.sum(axis=1), 1, atol=1e-2))


def _logits(probs: Float[np.ndarray, "N K"], several: bool) -> Float[np.ndarray, "N K"]:
    """Logits that give these probabilities."""
    kept = np.clip(probs, _TINY, 1.0)
    return np.asarray(
        np.log(kept) - np.log(np.clip(1.0 - kept, np.finfo(kept.dtype).eps / 2, 1.0)) if several else np.log(kept)
    )


def _nll(logits: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " *S"]) -> float:
    """The mean negative log-likelihood of logits, in nats."""
    if labels.ndim == 2:
        return float((np.logaddexp(0, logits) - logits * labels).mean(dtype=np.float64))
    top = logits.max(axis=1)
    sums = np.exp(logits - top[:, None]).sum(axis=1)
    return float((np.log(sums) + top - logits[np.arange(len(labels)), labels]).mean(dtype=np.float64))


def _fitted(logits: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " *S"], *, alone: bool) -> float:
    """The temperature of the greatest likelihood, by Newton's method in 1 / T, in which the likelihood is concave.

    `alone`: says nothing where there is nothing to learn from.
    """
    several = labels.ndim == 2
    wrong = (logits > 0) != (labels == 1) if several else logits.argmax(axis=1) != labels
    if not wrong.any():
        if not alone:
            warn(f"Not one mistake in {len(labels):,} held-out pictures: they tell no temperature, which stays 1.")
        return 1.0
    low, high, sharpness = 1 / _HIGHEST, 1 / _LOWEST, 1.0
    for _ in range(_MOST_STEPS):
        slope, bend = _slopes(logits, labels, sharpness)
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
        step = sharpness - slope / bend if bend > 0 else -1.0
        following = step if low < step < high else (low * high) ** 0.5
        if abs(following - sharpness) <= 1e-5 * sharpness:
            break
        sharpness = following
    return float(1 / sharpness)


def _slopes(
    logits: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " *S"], sharpness: float
) -> tuple[float, float]:
    """First and second derivative of the mean negative log-likelihood by 1 / T."""
    slope = bend = 0.0
    for first in range(0, len(logits), _ROWS):
        z, truth = logits[first : first + _ROWS], labels[first : first + _ROWS]
        probs = to_probs(z * z.dtype.type(sharpness), several=labels.ndim == 2)
        if labels.ndim == 2:
            slope += float(((probs - truth) * z).sum()) / z.shape[1]
            bend += float((probs * (1 - probs) * z**2).sum()) / z.shape[1]
        else:
            mean = np.einsum("nk,nk->n", probs, z)
            slope += float((mean - z[np.arange(len(z)), truth]).sum(dtype=np.float64))
            bend += float((np.einsum("nk,nk,nk->n", probs, z, z) - mean**2).sum(dtype=np.float64))
    return slope / len(logits), bend / len(logits)
