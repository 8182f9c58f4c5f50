"""Classes without samples, classes that differ between the parts, and classes of very different size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.data.annotated import AnnotatedDataset
from lamina.data.checking.report import Findings
from lamina.data.checking.scan import Part, Pictures
from lamina.data.formats.image_folder import few

STRONG = 10  # the largest class has so many times the samples of the smallest: worth a word


def check_classes(pictures: Pictures, findings: Findings) -> None:
    """Tells what is strange about the classes of the parts, for each task."""
    for task in np.unique(pictures.task_of):
        numbers = np.flatnonzero(pictures.task_of == task).tolist()
        parts = {pictures.titles[number]: pictures.parts[number] for number in numbers}
        _check_task(parts, [pictures.classes_seen[number] for number in numbers], findings)


def _check_task(parts: Mapping[str, Part], seen: Sequence[npt.NDArray[np.bool_]], findings: Findings) -> None:
    first = next(iter(parts))
    names = parts[first].classes
    _check_names(parts, findings)
    counts = {
        name: counted
        for (name, part), there in zip(parts.items(), seen, strict=True)
        if len(part.classes) > 1 and (counted := _counts(part, there)) is not None
    }
    for name, counted in counts.items():
        _check_empty(name, parts[name], counted, findings)
        if name != first and first in counts and parts[name].classes == names:
            new = [names[at] for at in np.flatnonzero((counted > 0) & (counts[first] == 0)).tolist()]
            if new:
                what = f"{_plural(len(new))} here that {first} has no sample of: {few(new)}"
                findings.add("doubt", "classes differ", name, what, part=name)
    if first in counts and not _by_pixels(parts[first]):
        _check_balance(first, parts[first], counts[first], findings)


def _check_names(parts: Mapping[str, Part], findings: Findings) -> None:
    first, *others = parts
    names = parts[first].classes
    for other in others:
        if parts[other].classes != names:
            here, there = set(parts[other].classes) - set(names), set(names) - set(parts[other].classes)
            told = [f"{few(sorted(here))} only here"] * bool(here) + [f"{few(sorted(there))} only in {first}"] * bool(
                there
            )
            what = "; ".join(told) or f"the same classes as in {first}, in another order"
            findings.add("doubt", "classes differ", other, what, part=other)
    folded: dict[str, str] = {}
    for name in dict.fromkeys(name for part in parts.values() for name in part.classes):
        twin = folded.setdefault(" ".join(name.casefold().replace("_", " ").split()), name)
        if twin != name:
            findings.add("doubt", "class twice", first, f"{twin!r} and {name!r} may be meant as one class")


def _check_empty(name: str, part: Part, counts: npt.NDArray[np.int64], findings: Findings) -> None:
    classes = part.classes
    empty = [classes[at] for at in np.flatnonzero(counts == 0).tolist()]
    if empty:
        what = f"{len(empty):,} of {_plural(len(classes))} have no {_unit(part)}: {few(empty)}"
        findings.add("doubt", "empty class", name, what, part=name)


def _check_balance(name: str, part: Part, counts: npt.NDArray[np.int64], findings: Findings) -> None:
    classes = part.classes
    there = np.flatnonzero(counts > 0)
    if len(there) < 2:
        return
    most, least = int(there[counts[there].argmax()]), int(there[counts[there].argmin()])
    ratio = counts[most] / counts[least]
    if ratio >= STRONG:
        hides = (
            "the mean over the classes (mAP) weighs both alike"
            if isinstance(part, AnnotatedDataset)
            else "an answer that is always the largest class looks good in the accuracy"
        )
        of_most = f"{classes[most]} has {counts[most]:,} {_unit(part)}s"
        what = f"1 to {ratio:.0f}: {of_most}, {classes[least]} {counts[least]:,}; {hides}"
        findings.add("doubt", "imbalance", name, what, part=name)


def _counts(part: Part, seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    """Samples of each class; of class maps 1 where a class occurs. None where nothing tells of classes."""
    if _by_pixels(part):
        return seen[: len(part.classes)].astype(np.int64) if len(part.classes) <= len(seen) else None
    if isinstance(part, AnnotatedDataset):
        labels: Any = getattr(part.columns.get("labels"), "values", None)
        if labels is None:
            return None
        values = np.asarray(labels, dtype=np.int64).ravel()  # beyond the classes, they are told elsewhere
        inside = values[(values >= 0) & (values < len(part.classes))]
        return np.bincount(inside, minlength=len(part.classes))
    known = part.labels.numpy()
    return known.sum(0) if known.ndim == 2 else np.bincount(known, minlength=len(part.classes))


def _unit(part: Part) -> str:
    """What is counted."""
    return "object" if isinstance(part, AnnotatedDataset) and not _by_pixels(part) else "sample"


def _by_pixels(part: Part) -> bool:
    return isinstance(part, AnnotatedDataset) and "class_map" in part.columns


def _plural(count: int) -> str:
    return f"{count:,} class{'es' * (count != 1)}"
