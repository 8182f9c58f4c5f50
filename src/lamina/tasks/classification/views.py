"""What classifiers answer to pictures that are read for them: once, or in the several views of test-time augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lamina.core.errors import DataError, LaminaError
from lamina.core.warnings import warn
from lamina.data.dataset import FolderDataset
from lamina.data.faults import all_unreadable, named
from lamina.data.preprocess import Preprocess
from lamina.data.splits import Splits
from lamina.models import ensemble, pictures
from lamina.models import tta as views
from lamina.models.model import PREDICT_BATCH
from lamina.tasks.classification import inputs

if TYPE_CHECKING:
    from lamina.tasks.classification.model import Classifier

_BATCH = 256  # pictures of a data set that are held at once, at the size that views are cut from


def seen(
    classifier: Classifier,
    x: Any,
    *,
    tta: Any = None,
    batch_size: int = PREDICT_BATCH,
    on_error: Any = "raise",
    engine: str = "auto",
    precision: str = "float32",
) -> tuple[np.ndarray[Any, Any], list[Any]]:
    """Probabilities (N K) for whatever `predict` takes, and what names each picture (see `pictures.read`)."""
    preprocess = classifier._prepared()
    reads = preprocess
    if tta is not None:
        _refuse_engine(engine, precision)
        tta = views.get(tta)
        views.refuse_cropped(tta, inputs.measured(x, {})[1] if isinstance(x, Splits) else x, preprocess)
        reads = tta.reads(preprocess)
    batch, sources = pictures.read(x, reads, on_error)
    if tta is None:
        asked: dict[str, Any] = {"batch_size": batch_size, "engine": engine, "precision": precision}
        probs = classifier.engines.answer(classifier, batch, lambda some: classifier._probs(some, batch_size), **asked)
        return probs, sources
    starts = range(0, len(batch), _BATCH)
    parts = [_answer(classifier, batch[start : start + _BATCH], tta, batch_size, start) for start in starts]
    return np.concatenate(parts), sources


def _refuse_engine(engine: str, precision: str) -> None:
    if engine not in ("auto", "torch") or precision != "float32":
        raise LaminaError(
            f"tta came beside engine={engine!r} and precision={precision!r}.",
            "Views are answered by torch in float32.",
            "Leave tta or the other two out.",
        )


def evaluated(
    classifier: Classifier, x: Any, y: Any, *, tta: Any, batch_size: int, sample_weight: Any
) -> dict[str, float]:
    """The figures of the answers averaged over several views; see `Classifier.evaluate`."""
    if sample_weight is not None:
        raise LaminaError(
            "tta came beside sample_weight.", "Views are averaged without weights.", "Leave one of them out."
        )
    classifier._prepared()
    dataset = classifier._labelled(x, y) if y is not None else classifier.measured(x)[1]
    classifier._meet(dataset)
    probs, labels = answers([classifier], dataset, tta=tta, batch_size=batch_size)
    return ensemble.figures(classifier._compiled or {}, probs[0], labels, multi_label=classifier.multi_label)


def answers(
    classifiers: Sequence[Classifier], dataset: Any, *, tta: Any = None, batch_size: int = PREDICT_BATCH
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Probabilities of each classifier (M N K) for a data set, and its labels (N). Files are read once for each preprocessing.

    Unreadable pictures are left out and named in a warning. A few pictures at a time are in memory.
    """
    looks = None if tta is None else views.get(tta)
    prepared = [classifier._prepared() for classifier in classifiers]
    wanted = prepared if looks is None else [looks.reads(preprocess) for preprocess in prepared]
    if looks is not None:
        for preprocess in prepared:
            views.refuse_cropped(looks, dataset, preprocess)
    parts: list[list[np.ndarray[Any, Any]]] = [[] for _ in classifiers]
    labels, faults = [], dict[int, str]()
    for start in range(0, len(dataset), _BATCH):
        some = dataset.subset(range(start, min(start + _BATCH, len(dataset))))
        read = {preprocess: _read(some, preprocess) for preprocess in dict.fromkeys(wanted)}
        good, broken = next(iter(read.values()))[1:]
        faults |= {start + index: error.came for index, error in broken.items()}
        if not len(good):
            continue
        for part, classifier, preprocess in zip(parts, classifiers, wanted, strict=True):
            part.append(_answer(classifier, read[preprocess][0], looks, batch_size, start))
        labels.append(good.numpy())
    if faults and not labels:
        raise all_unreadable(f"{len(dataset):,} pictures of {dataset.root}", faults)
    if faults:
        warn(f"{len(faults):,} of {len(dataset):,} pictures cannot be read; they are left out:\n{named(faults)}")
    return np.stack([np.concatenate(part) for part in parts]), np.concatenate(labels)


def _read(dataset: Any, preprocess: Preprocess) -> tuple[Tensor, Tensor, dict[int, DataError]]:
    """Pictures and labels of those that can be read, and what is wrong with the others."""
    if not isinstance(dataset, FolderDataset):
        return pictures.in_memory(dataset, preprocess).images, dataset.labels, {}
    images, problems = pictures.readable(list(dataset.paths), preprocess)
    return images, dataset.labels[[index for index in range(len(dataset)) if index not in problems]], problems


def _answer(
    classifier: Classifier, images: Tensor, looks: views.Views | None, batch_size: int, first: int
) -> np.ndarray[Any, Any]:
    if looks is None:
        return classifier._probs(images, batch_size)
    size = classifier._prepared().size
    return views.averaged(
        looks, images, size=size, answer=lambda batch: classifier._probs(batch, batch_size), first=first
    )
