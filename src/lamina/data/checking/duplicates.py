"""Pictures that are there twice: the same bytes, the same pixels, or nearly the same look; and leaks from part to part.

Nearly the same are pictures whose hashes (see `perceptual`) differ in at most 4 of 64 bits. For photos that is enough: of 2,120
distinct ones no two are taken for copies. Of pictures of at most 64 pixels a side it is not: of 70,000 MNIST digits 43,547 have
such a partner, 556,367 pairs. There the brightness itself must agree too, at 16x16 places with a correlation of 0.99 or more,
which leaves 972 pairs of 1,175 digits, all of one class, and copies that were made lighter or saved again; what was cropped is then lost.

What people need to know is which pictures of the test have a twin in training, so leaks are told picture by picture;
within a part, groups are told, where a may be near b and b near c (a video becomes one group).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.core.errors import listed
from lamina.data.checking.perceptual import near_pairs
from lamina.data.checking.report import MOST_NAMED, Findings
from lamina.data.checking.scan import USUAL, Pictures
from lamina.data.dataset import FolderDataset

DISTANCE = 4  # bits
ALIKE = 0.99  # correlation of brightness, of small pictures
_MOST_ALIKE = 64  # small pictures of one hash that are compared with those of another
_PAIRS = 20_000  # small pictures that are compared in one go
_LISTED = 4  # of a group

Rows = npt.NDArray[np.int64]


def check_duplicates(pictures: Pictures, findings: Findings) -> None:
    """Tells of files that are listed twice, of copies, of near copies, and of all these across parts."""
    _check_listed(pictures, findings)
    copies = _check_copies(pictures, findings)
    _check_near(pictures, copies, findings)


def _check_listed(pictures: Pictures, findings: Findings) -> None:
    """The same file twice in one part, or in two that should have nothing in common."""
    for picture in np.flatnonzero(np.bincount(pictures.picture_of, minlength=len(pictures)) > 1):
        samples = pictures.samples(int(picture))
        where = pictures.name(int(picture))
        for number, name in enumerate(pictures.names):
            part, rows = pictures.parts[number], [row for of, row in samples if of == number]
            if len(rows) > 1 and isinstance(part, FolderDataset):
                origin = part.origin(rows[1])
                findings.add(
                    "doubt", "listed twice", where, f"{len(rows)} samples are this file", origin=origin, part=name
                )
                _check_labels(pictures, [(number, row) for row in rows], findings)
        for usual in dict.fromkeys(_usual_parts(pictures, samples)):
            findings.add("doubt", "leak", where, f"this file is in {' and in '.join(usual)}", part=usual[-1])


def _usual_parts(pictures: Pictures, samples: list[tuple[int, int]]) -> Iterator[tuple[str, ...]]:
    """For each task those of its parts that should have nothing in common, and have these samples."""
    there = sorted({number for number, _ in samples})
    for task in dict.fromkeys(pictures.task_of[there].tolist()):
        of_task = (pictures.names[number] for number in there if pictures.task_of[number] == task)
        if len(usual := tuple(name for name in of_task if name in USUAL)) > 1:
            yield usual


def _check_labels(pictures: Pictures, samples: list[tuple[int, int]], findings: Findings) -> None:
    """The same picture with different labels, of which one at most is right."""
    told: dict[str, tuple[int, int]] = {}
    for number, row in samples:
        part = pictures.parts[number]
        labels: Any = getattr(part, "labels", None)
        if labels is not None and labels.dim() == 1 and len(part.classes) > 1:
            told.setdefault(part.classes[int(labels[row])], (number, row))
    if len(told) > 1:
        first, *others = [pictures.picture_of[_sample(pictures, *sample)] for sample in told.values()]
        where, names = pictures.name(int(first)), [pictures.name(int(other)) for other in others]
        as_well = "" if names[0] == where else f"; the other is {names[0]}"
        findings.add("doubt", "two labels", where, f"the same picture is labelled {' and '.join(told)}{as_well}")


def _sample(pictures: Pictures, number: int, row: int) -> int:
    return int(np.searchsorted(pictures.part_of, number)) + row  # samples stand part by part


def _check_copies(pictures: Pictures, findings: Findings) -> Rows:
    """Tells of pictures with the same bytes or pixels; returns for each picture the first one that is the same."""
    readable = pictures.height > 0
    group = np.arange(len(pictures))
    for hashed in (pictures.content, pictures.pixels):
        known = np.flatnonzero(readable & (hashed != 0))
        _, first, inverse = np.unique(hashed[known], return_index=True, return_inverse=True)
        group = _joined(group, known, known[first][inverse])
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        members = order[start : start + size]
        _tell_group(pictures, members, findings)
    return group


def _tell_group(pictures: Pictures, members: Rows, findings: Findings) -> None:
    by_part: dict[str, list[int]] = {}
    for member in members[:MOST_NAMED].tolist():
        by_part.setdefault(pictures.part(member), []).append(member)
    for part, same in by_part.items():
        if len(same) > 1:
            where, others = pictures.name(same[0]), [pictures.name(one) for one in same[1:]]
            bytes_too = len({int(pictures.content[one]) for one in same}) == 1
            what = f"the same {'bytes' if bytes_too else 'pixels'} as {listed(others, most=_LISTED)}"
            findings.add("doubt", "duplicate", where, what, part=part)
    usual = [part for part in dict.fromkeys(pictures.names) if part in USUAL and part in by_part]
    for part in usual[1:]:
        for one in by_part[part]:
            source = usual[0]
            what = f"the same picture is in {source}: {pictures.name(by_part[source][0])}"
            findings.add("doubt", "leak", pictures.name(one), what, part=part)
    _check_labels(pictures, [s for one in members[:MOST_NAMED].tolist() for s in pictures.samples(one)], findings)


def _check_near(pictures: Pictures, copies: Rows, findings: Findings) -> None:
    count = len(pictures)
    alone = np.flatnonzero(pictures.told_apart & (copies == np.arange(count)))  # of copies the first stands for all
    group = np.arange(count)
    partner, bits = np.full(count, -1, dtype=np.int64), np.full(count, 255, dtype=np.uint8)
    rank = np.array([USUAL.index(name) if name in USUAL else -1 for name in pictures.names])
    of = rank[pictures.part_of[pictures.first]] if count else np.zeros(0, np.int64)
    part = np.array([pictures.names.index(name) for name in pictures.names])[pictures.part_of[pictures.first]]
    for one, two in _alike(pictures, alone):
        within = part[one] == part[two]
        group = _joined(group, one[within], two[within])
        across = ~within & (of[one] >= 0) & (of[two] >= 0)
        first, second = one[across], two[across]
        swap = of[first] > of[second]
        first, second = np.where(swap, second, first), np.where(swap, first, second)
        apart = np.bitwise_count(pictures.look[first] ^ pictures.look[second]).astype(np.uint8)
        order = np.lexsort((apart, second))
        first, second, apart = first[order], second[order], apart[order]
        best = np.flatnonzero(np.diff(second, prepend=-1))
        best = best[apart[best] < bits[second[best]]]
        partner[second[best]], bits[second[best]] = first[best], apart[best]
    _tell_near(pictures, group, partner, bits, findings)


def _tell_near(pictures: Pictures, group: Rows, partner: Rows, bits: npt.NDArray[np.uint8], findings: Findings) -> None:
    for leaked in np.flatnonzero(partner >= 0).tolist():
        twin = int(partner[leaked])
        labels = _labelled(pictures, [twin, leaked])
        what = f"nearly the same picture is in {pictures.part(twin)}: {pictures.name(twin)} ({bits[leaked]} of 64 bits differ{labels})"
        findings.add("doubt", "near leak", pictures.name(leaked), what, part=pictures.part(leaked))
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        members = order[start : start + size].tolist()
        others = ", ".join(pictures.name(one) for one in members[1 : 1 + _LISTED])
        more = f" and {size - 1 - _LISTED:,} more" if size > 1 + _LISTED else ""
        what = f"nearly the same as {others}{more}{_labelled(pictures, members[:MOST_NAMED], '; ')}"
        findings.add("doubt", "near duplicate", pictures.name(members[0]), what, part=pictures.part(members[0]))


def _labelled(pictures: Pictures, members: list[int], before: str = ", ") -> str:
    """The different labels of some pictures, where they differ."""
    told: dict[str, None] = {}
    for member in members:
        number, row = pictures.samples(member)[0]
        part = pictures.parts[number]
        labels: Any = getattr(part, "labels", None)
        if labels is not None and labels.dim() == 1 and len(part.classes) > 1:
            told[part.classes[int(labels[row])]] = None
    return f"{before}labelled {' and '.join(list(told)[:_LISTED])}" if len(told) > 1 else ""


def _alike(pictures: Pictures, alone: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of pictures that are nearly the same, in parts; of large ones with one hash only neighbours, which is enough to join them."""
    looks, inverse = np.unique(pictures.look[alone], return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members, ends = alone[order], np.concatenate([[0], np.cumsum(np.bincount(inverse, minlength=len(looks)))])
    hash_of = inverse[order]
    for between in (_chains(members, hash_of, ends), _pairs(looks, members, ends)):
        for one, two in between:
            kept = _confirmed(pictures, one, two)
            if kept.any():
                yield one[kept], two[kept]


def _chains(members: Rows, hash_of: Rows, ends: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pictures of the same hash: each with the next up to 64, so that thousands of one hash do not become millions of pairs."""
    for step in range(1, min(_MOST_ALIKE, int(np.diff(ends).max(initial=0)))):
        same = np.flatnonzero(hash_of[step:] == hash_of[:-step])
        yield members[same], members[same + step]


def _pairs(looks: npt.NDArray[np.uint64], members: Rows, ends: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pictures of near hashes, of each hash up to 64."""
    counts = np.minimum(np.diff(ends), _MOST_ALIKE)
    for one, two in near_pairs(looks, DISTANCE):
        sizes = counts[one] * counts[two]
        for first, last in _runs(sizes):
            a, b, size = one[first:last], two[first:last], sizes[first:last]
            at = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
            wide = np.repeat(counts[b], size)
            yield members[np.repeat(ends[a], size) + at // wide], members[np.repeat(ends[b], size) + at % wide]


def _runs(sizes: Rows) -> Iterator[tuple[int, int]]:
    """Stretches with some ten thousands of pairs each."""
    total, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = int(total[first - 1]) if first else 0
        last = max(int(np.searchsorted(total, before + 10 * _PAIRS, side="right")), first + 1)
        yield first, last
        first = last


def _confirmed(pictures: Pictures, one: Rows, two: Rows) -> npt.NDArray[np.bool_]:
    """Which pairs stay: all with a large picture, and small ones whose brightness agrees at all places."""
    small = pictures.small[one] & pictures.small[two]
    kept = ~small
    at = np.flatnonzero(small)
    for first in range(0, len(at), _PAIRS):
        some = at[first : first + _PAIRS]
        a, b = (_centred(pictures.detail[rows[some]]) for rows in (one, two))
        kept[some] = np.einsum("ij,ij->i", a, b) >= ALIKE
    return kept


def _centred(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Brightness less its mean, of length 1 (M 256)."""
    made = values.astype(np.float32)
    made -= made.mean(axis=1, keepdims=True)
    made /= np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-6)
    return made


def _joined(group: Rows, one: Rows, two: Rows) -> Rows:
    """For each picture the first one of its group, after pairs were joined: each takes the smaller name until all agree."""
    while True:
        a, b = group[one], group[two]
        if (a == b).all():
            return group
        low = np.minimum(a, b)
        np.minimum.at(group, a, low)
        np.minimum.at(group, b, low)
        while True:
            shorter = group[group]
            if (shorter == group).all():
                break
            group = shorter
