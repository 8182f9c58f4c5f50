"""Labels that are probably wrong: found by confident learning, ranked, shown and cleaned away.

`from_probs` judges the labels by probabilities that somebody has; `find` gets them itself, by training k times on the other
folds. `lamina.find_label_errors("photos/")` does all of it with a Classifier.
"""

from __future__ import annotations

import copy
import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from lamina.core.errors import DataError, LaminaError
from lamina.core.files import replacing
from lamina.core.warnings import warn
from lamina.data.splits import Splits
from lamina.explain import confident
from lamina.explain.answers import checked, named
from lamina.explain.confident import Prune
from lamina.explain.out_of_sample import out_of_sample
from lamina.structures.results import percent

_PRINTED = 10  # suspects
_LEARNT = 0.25  # of the labels that the largest class leaves over: agreement with fewer judges nothing


@dataclass(frozen=True)
class Suspect:
    """One label that is probably wrong: of the sample `index`, class `label`, where class `likely` is more probable.

    `self_confidence` is the probability of the label, `confidence` that of the likely class; `origin` says where the sample was
    read, where that is known.
    """

    index: int
    origin: str
    label: int
    likely: int
    self_confidence: float
    confidence: float

    @property
    def margin(self) -> float:
        """How much more probable the likely class is, 0 to 1: what suspects are ranked by."""
        return self.confidence - self.self_confidence


@dataclass(frozen=True, eq=False, repr=False)
class LabelErrors:
    """The suspects, those with the greatest margin first, and what the labels of the whole data set are worth.

    `joint` (K K) is the estimated share of all samples with label i that are truly class j. `positions` (N) are the samples
    that `probs` (N K) and `labels` (N) are of: all but the unreadable ones. `data` is the data set, where it is known.
    """

    probs: Float[np.ndarray, "N K"]
    labels: Int64[np.ndarray, " N"]
    classes: tuple[str, ...]
    positions: Int64[np.ndarray, " N"]
    prune: Prune = "noise_rate"
    data: Any = None
    joint: Float[np.ndarray, "K K"] = field(init=False)
    suspects: tuple[Suspect, ...] = field(init=False)

    def __post_init__(self) -> None:
        probs, labels = self.probs, self.labels
        object.__setattr__(self, "joint", confident.joint(probs, labels))
        rows = np.flatnonzero(confident.suspects(probs, labels, prune=self.prune))
        likely, confidence = confident.likely(probs, labels)
        own = probs[np.arange(len(labels)), labels]
        ranked = rows[np.argsort(own[rows] - confidence[rows], kind="stable")]
        found = [
            Suspect(
                index := int(self.positions[row]),
                _origin(self.data, index),
                int(labels[row]),
                int(likely[row]),
                float(own[row]),
                float(confidence[row]),
            )
            for row in ranked
        ]
        object.__setattr__(self, "suspects", tuple(found))

    @property
    def noise_rate(self) -> float:
        """The estimated share of wrong labels, 0 to 1: what lies beside the diagonal of the joint."""
        return float(max(1.0 - self.joint.trace(), 0.0))

    @property
    def agreement(self) -> float:
        """The share of labels that the model gives too, 0 to 1."""
        return float((self.probs.argmax(axis=1) == self.labels).mean())

    @property
    def largest(self) -> float:
        """The share of labels of the largest class, 0 to 1: what always answering it agrees with."""
        return float(np.bincount(self.labels).max() / len(self.labels))

    @property
    def is_learnt(self) -> bool:
        """Whether the agreement is clearly above always answering the largest class: by a quarter of what that leaves over.

        A good model passes with 30 % wrong labels of two equal classes, or 60 % of ten; one at chance does not.
        """
        return self.agreement >= self.largest + _LEARNT * (1 - self.largest)

    @property
    def doubt(self) -> str:
        """Why the suspects are not to be trusted, and what helps; "" where the model has learnt enough to judge."""
        if self.is_learnt:
            return ""
        name = self.classes[int(np.bincount(self.labels).argmax())]
        return (
            f"The network agrees with {percent(self.agreement)} of the labels, and always answering {name} with "
            f"{percent(self.largest)}: it has learnt too little to judge. Train longer (epochs=...), or begin with weights "
            "that have learnt (model=Classifier(NAME, pretrained=True))."
        )

    @cached_property
    def counts(self) -> Int64[np.ndarray, "K K"]:
        """The joint in samples, rounded."""
        return np.asarray(np.rint(self.joint * len(self.labels)), np.int64)

    @property
    def indices(self) -> Int64[np.ndarray, " S"]:
        """The suspects' places in the data set, in their order."""
        return np.array([suspect.index for suspect in self.suspects], np.int64)

    def __str__(self) -> str:
        found = len(self.suspects)
        lines = [
            f"{found:,} of {len(self.labels):,} labels are suspect ({percent(found / len(self.labels))}); "
            f"by estimate {percent(self.noise_rate)} are wrong."
        ]
        if self.doubt:
            lines.insert(0, self.doubt)
        if not found:
            return "\n".join(lines)
        wrong = self.counts * ~np.eye(len(self.classes), dtype=bool)
        label, truth = np.unravel_index(int(wrong.argmax()), wrong.shape)
        if wrong.max() > 0:
            name, other = self.classes[label], self.classes[truth]
            lines.append(f"Most often: {wrong.max():,} labelled {name} that are {other}.")
        shown = self.suspects[:_PRINTED]
        width = max(len(name) for name in ("likely", *(self.classes[k] for s in shown for k in (s.label, s.likely))))
        lines.append(f"{'label':{width}s}        {'likely':{width}s}")
        lines += [
            f"{self.classes[s.label]:{width}s} {100 * s.self_confidence:5.1f}%  "
            f"{self.classes[s.likely]:{width}s} {100 * s.confidence:5.1f}%  {s.origin or f'sample {s.index}'}"
            for s in shown
        ]
        if found > len(shown):
            lines.append(f"... and {found - len(shown):,} more")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<LabelErrors, {len(self.suspects):,} suspects of {len(self.labels):,} labels>"

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: the suspects with the names of their classes, the joint and the noise rate."""
        return {
            "samples": len(self.labels),
            "noise_rate": self.noise_rate,
            "agreement": self.agreement,
            "largest": self.largest,
            "is_learnt": self.is_learnt,
            "prune": self.prune,
            "classes": list(self.classes),
            "joint": self.joint.tolist(),
            "suspects": [dict(zip(_COLUMNS, self._row(suspect), strict=True)) for suspect in self.suspects],
        }

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes the suspects as a table, a line each, the most suspect first; returns its path."""
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(_COLUMNS)
            for suspect in self.suspects:
                index, origin, label, likely, *numbers = self._row(suspect)
                writer.writerow([index, origin, label, likely, *(f"{number:.4f}" for number in numbers)])
        return Path(path)

    def gallery(self, path: str | os.PathLike[str] = "suspects.html", *, data: Any = None, shown: int = 300) -> Path:
        """Writes the suspects' pictures as one HTML file that needs nothing but itself, and as a grid, a PNG beside it.

        `data` is the data set, where the result does not know it; at most `shown` are drawn, the most suspect ones, of which
        the PNG has the first 60. Returns the page's path.
        """
        from lamina.explain.suspects import write_gallery  # which draws

        return write_gallery(self, self._checked(data), path=Path(path), shown=shown)

    def clean(self, data: Any = None, *, correct: bool = False) -> Any:
        """The data set without the suspects, or with `correct` all of it, with the likely class as the suspects' label.

        Of Splits the part that was examined is cleaned, the others stay. Raises DataError for other data than was examined.
        """
        if isinstance(data, Splits):
            mine = [name for name in ("train", "validation", "test") if self._is_examined(getattr(data, name))]
            if not mine:
                raise self._other_data(data)
            return replace(data, **{mine[0]: self.clean(getattr(data, mine[0]), correct=correct)})
        data = self._checked(data)
        if not correct:
            keep = torch.ones(len(data), dtype=torch.bool)
            keep[torch.from_numpy(self.indices)] = False
            return data.subset(keep)
        changed, labels = copy.copy(data), data.labels.clone()
        labels[torch.from_numpy(self.indices)] = torch.tensor([s.likely for s in self.suspects], dtype=torch.int64)
        changed.labels = labels
        return changed

    def cleaned_list(self, path: str | os.PathLike[str], *, data: Any = None, correct: bool = False) -> Path:
        """Writes what `clean` keeps as a table, a line for each sample with its file (or index) and label; returns its path.

        Files below the table's folder are named from there, others by their whole path: lamina.data.open(path) reads it.
        """
        data = self._checked(data)
        cleaned, suspect = self.clean(data, correct=True), set(self.indices.tolist())
        kept = [index for index in range(len(data)) if correct or index not in suspect]
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file" if hasattr(data, "paths") else "index", "label"])
            for index, label in zip(kept, cleaned.labels[kept].tolist(), strict=True):
                writer.writerow([_name(data, index, Path(path).absolute().parent), self.classes[label]])
        return Path(path)

    def _row(self, suspect: Suspect) -> tuple[Any, ...]:
        label, likely = self.classes[suspect.label], self.classes[suspect.likely]
        numbers = (suspect.self_confidence, suspect.confidence, suspect.margin)
        return (suspect.index, suspect.origin, label, likely, *numbers)

    def _checked(self, data: Any) -> Any:
        """The data set that was examined."""
        data = self.data if data is None else data
        if data is None:
            raise DataError(
                "The result knows probabilities and labels alone.",
                "Their pictures are needed, in the same order.",
                "Pass data=..., here or to from_probs.",
            )
        if not self._is_examined(data):
            raise self._other_data(data)
        return data

    def _is_examined(self, data: Any) -> bool:
        labels = getattr(data, "labels", None)
        if labels is None or labels.ndim != 1 or len(labels) <= int(self.positions.max()):
            return False
        same = self.data is None or len(labels) == len(self.data.labels)
        return same and np.array_equal(np.asarray(labels)[self.positions], self.labels)

    def _other_data(self, data: Any) -> DataError:
        return DataError(
            f"The labels of {data!r:.80} are others than the {len(self.labels):,} that were examined.",
            "Suspects are places in the very data set that was examined.",
            "Pass that data set, in its order.",
        )


_COLUMNS = ("index", "origin", "label", "likely", "self_confidence", "confidence", "margin")


def from_probs(
    probs: Any, labels: Any = None, *, data: Any = None, classes: Sequence[str] = (), prune: Prune = "noise_rate"
) -> LabelErrors:
    """The labels that are probably wrong, by probabilities (N K) of a model that had not learnt these samples.

    `labels` (N), or those of `data`, which also brings class names and pictures. `prune`: see confident.suspects. Probabilities
    of a model that was trained on these very labels find little: it has learnt the wrong ones too.
    """
    if data is not None:
        data = examined(data)
        labels, classes = data.labels if labels is None else labels, classes or data.classes
    if labels is None:
        raise DataError("Probabilities came without labels.", "Labels are what is judged.", "Pass labels, or data=...")
    _refuse_several(labels)
    rows, given = checked(probs, labels)
    _refuse_no_probabilities(rows)
    names = named(classes, rows.shape[1]) if classes else tuple(map(str, range(rows.shape[1])))
    return _told(LabelErrors(rows, given, names, np.arange(len(given)), prune, data))


def find(
    data: Any,
    *,
    train: Callable[..., Any] | None = None,
    folds: int = 4,
    prune: Prune = "noise_rate",
    seed: int = 0,
    run: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    verbose: bool = True,
) -> LabelErrors:
    """The labels of a data set that are probably wrong, by models each of which is asked of the fold that it did not learn.

    `train(part, seed=...)` returns a model trained on such a part of the data, which answers `predict_probs(images)`; `fit` of a
    recipe is one. With `run` the answers of each fold are kept in that folder, and the same call goes on with them;
    `settings` are what they depend on besides: with others it is refused. Of Splits the training part is examined.
    Raises LaminaError without `train`: lamina.find_label_errors trains a classifier.
    """
    if train is None:
        raise LaminaError(
            "label_errors.find came without train.",
            "It trains with a function of yours: train(part, seed=...) gives a model.",
            "Call lamina.find_label_errors(data), which takes a folder too and trains a classifier.",
        )
    data = examined(data)
    if prune not in confident.PRUNES:  # before hours of training
        confident.suspects(np.eye(2), np.arange(2), prune=prune)
    positions, probs = out_of_sample(
        data, train, folds=folds, seed=seed, run=run, settings=dict(settings or {}), verbose=verbose
    )
    labels = np.asarray(data.labels)[positions]
    return _told(LabelErrors(probs, labels, tuple(map(str, data.classes)), positions, prune, data))


def _told(found: LabelErrors) -> LabelErrors:
    """The same; warns where its model has learnt too little."""
    if found.doubt:
        warn(found.doubt)
    return found


def examined(data: Any) -> Any:
    """The data set whose labels are judged: of Splits the training part. Raises DataError where pictures have no one label."""
    if isinstance(data, Splits):
        data = next(iter(data.parts().values()))
    if not (hasattr(data, "labels") and hasattr(data, "classes") and hasattr(data, "subset")):
        raise DataError(
            f"A {type(data).__name__} came as data.",
            "Labels are judged in a data set of pictures that each have one.",
            "Pass what lamina.data.open gives, lamina.data.ImageDataset(images, labels, classes), or a path to "
            "lamina.find_label_errors.",
        )
    _refuse_several(data.labels)
    return data


def _refuse_several(labels: Any) -> None:
    if np.ndim(labels) == 2:
        raise DataError(
            f"The pictures have several labels each (labels of shape {tuple(np.shape(labels))}).",
            "Confident learning is about one label a picture.",
            "Examine one class at a time, as a data set of two classes: labels[:, k].",
        )


def _refuse_no_probabilities(rows: Float[np.ndarray, "N K"]) -> None:
    off = np.flatnonzero((rows < -1e-3).any(axis=1) | (np.abs(rows.sum(axis=1) - 1) > 1e-2))
    if len(off):
        raise DataError(
            f"{len(off):,} of {len(rows):,} rows of probs are no probabilities; row {off[0]} sums to {rows[off[0]].sum():.3g}.",
            "Numbers from 0 to 1 that sum to 1 were expected in each row.",
            "Pass the softmax of the logits.",
        )


def _name(data: Any, index: int, folder: Path) -> str:
    """A sample's file as it is called from a folder, whole where it lies elsewhere; its index where it has none."""
    if not hasattr(data, "paths"):
        return str(index)
    path = Path(data.paths[index]).absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _origin(data: Any, index: int) -> str:
    """Where a sample was read, "" where nobody knows."""
    if hasattr(data, "origin"):
        return str(data.origin(index))
    sources = getattr(data, "sources", ())
    return str(sources[index]) if len(sources) else ""
