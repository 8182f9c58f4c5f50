"""Every picture of a data set, each file once however many parts name it, read on several threads.

What is known of M pictures is kept in arrays: about 50 bytes for each, and 256 more for one of at most 64 pixels a side.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lamina.data.annotated import AnnotatedDataset
from lamina.data.checking import perceptual
from lamina.data.checking.beside import Beside, look_beside
from lamina.data.checking.pictures import SIDE_SMALL, Seen, hash_of, inspect, seen_in_memory
from lamina.data.checking.places import Places
from lamina.data.checking.report import Fault, Findings
from lamina.data.dataset import FolderDataset, ImageDataset

Part = ImageDataset | FolderDataset | AnnotatedDataset
Progress = Callable[[int, int], None]

USUAL = ("train", "validation", "test")  # of these no two hold the same pictures; others, as "trainval", may well
_AT_ONCE = 32  # pictures of one piece of work
_IN_MEMORY_AT_ONCE = 1024
_AHEAD = 4  # pieces for each thread that are under way
_MOST_THREADS = 16


class Pictures:
    """The M different pictures of some parts: which samples each is, and what was seen of it.

    `more` are the parts for further tasks, by task: mostly of the same pictures, which are read once.
    """

    def __init__(self, parts: Mapping[str, Part], more: Mapping[str, Mapping[str, Part]] | None = None) -> None:
        several = [parts, *(more or {}).values()]
        self.names = [name for each in several for name in each]
        self.parts = [part for each in several for part in each.values()]
        self.task_of = np.repeat(np.arange(len(several)), [len(each) for each in several])  # of each part, 0 the first
        told = [f" ({task})" for task in (self.parts[0].task, *(more or {}))] if more else [""]
        self.titles = [f"{name}{told[task]}" for name, task in zip(self.names, self.task_of.tolist(), strict=True)]
        keys = np.concatenate([_keys(number, part) for number, part in enumerate(self.parts)])
        counts = [len(part) for part in self.parts]
        self.part_of = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
        self.row_of = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int32)
        rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)  # they are read in the order of the data
        self.picture_of = rank[inverse]
        self._samples = np.argsort(self.picture_of, kind="stable").astype(np.int32)
        self._ends = np.concatenate([[0], np.cumsum(np.bincount(self.picture_of, minlength=len(first)))])
        self.first = self._samples[self._ends[:-1]]  # the first sample of each picture
        count = len(first)
        self.height, self.width = np.zeros(count, np.int32), np.zeros(count, np.int32)  # 0 where it cannot be read
        self.content, self.pixels, self.look = (np.zeros(count, np.uint64) for _ in range(3))
        self.told_apart = np.zeros(count, dtype=bool)  # whether there is a hash of its look that says something
        self.differs = np.zeros(count, dtype=bool)  # from the size that an annotation tells, which was said
        self.small = np.zeros(count, dtype=bool)
        self.detail = np.zeros((count, SIDE_SMALL**2), np.uint8)  # the system gives no memory for rows that stay zero
        self.classes_seen = [np.zeros(256, dtype=bool) for _ in self.parts]  # in the class maps of each part

    def __len__(self) -> int:
        return len(self.first)

    def samples(self, picture: int) -> list[tuple[int, int]]:
        """(part, row) of each sample that is this picture."""
        rows = self._samples[self._ends[picture] : self._ends[picture + 1]]
        return list(zip(self.part_of[rows].tolist(), self.row_of[rows].tolist(), strict=True))

    def name(self, picture: int) -> str:
        """The file, or the part and the number where there is none."""
        sample = self.first[picture]
        return name_of(self.parts[self.part_of[sample]], int(self.row_of[sample]), self.names[self.part_of[sample]])

    def part(self, picture: int) -> str:
        """The part that it is first in."""
        return self.names[int(self.part_of[self.first[picture]])]

    def is_new(self, number: int) -> npt.NDArray[np.bool_]:
        """Which samples of a part (N) nobody has told of: all of a usual part, of others whose picture no part before has.

        What was told for another task is another thing.
        """
        here = self.part_of == number
        if self.names[number] in USUAL:
            return np.ones(int(here.sum()), dtype=np.bool_)
        before = (self.task_of[self.part_of] == self.task_of[number]) & (self.part_of < number)
        return np.isin(self.picture_of[here], self.picture_of[before], invert=True)

    def rows(self, number: int) -> npt.NDArray[np.int32]:
        """Which picture each sample of a part is (N)."""
        return np.asarray(self.picture_of[self.part_of == number])

    def sizes(self, number: int) -> npt.NDArray[np.int32]:
        """(height, width) of the picture of each sample of a part (N 2), 0 where it cannot be read."""
        rows = self.rows(number)
        return np.stack([self.height[rows], self.width[rows]], axis=1)


@dataclass
class _Piece:
    """What one piece of work has found."""

    first: int
    last: int
    seen: list[Seen] = field(default_factory=list)
    looks: tuple[Any, Any] | None = None
    faults: list[Fault] = field(default_factory=list)
    classes: dict[int, set[int]] = field(default_factory=dict)


def read_all(
    pictures: Pictures,
    findings: Findings,
    places: Places,
    *,
    looks: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Reads every picture and what lies beside it; fills the arrays of `pictures`, and tells the faults."""
    besides = [Beside.of(part) for part in pictures.parts]

    def work(first: int, last: int) -> _Piece:
        piece = _Piece(first, last)
        part = pictures.parts[pictures.part_of[pictures.first[first]]]
        if isinstance(part, ImageDataset):
            rows = pictures.row_of[pictures.first[first:last]]
            piece.seen = seen_in_memory(part.images[torch.from_numpy(rows).long()], looks=looks)
            for picture, seen in enumerate(piece.seen, first):
                where, name = pictures.name(picture), pictures.part(picture)
                piece.faults += [Fault(level, kind, where, what, part=name) for level, kind, what in seen.faults]
        else:
            for picture in range(first, last):
                _look(picture, pictures, besides, places, piece, looks=looks)
        greys = [seen.grey for seen in piece.seen if seen.grey is not None]
        piece.looks = perceptual.hashes(np.stack(greys)) if greys else None
        return piece

    for piece in _in_order(work, _pieces(pictures), threads or _cores()):
        _keep(piece, pictures, findings)
        if progress is not None:
            progress(piece.last, len(pictures))


def _pieces(pictures: Pictures) -> Iterator[tuple[int, int]]:
    """The pictures first .. last of each piece of work: never of two parts."""
    starts = np.searchsorted(pictures.part_of[pictures.first], np.arange(len(pictures.parts) + 1)).tolist()
    for part, (start, stop) in zip(pictures.parts, itertools.pairwise(starts), strict=True):
        step = _IN_MEMORY_AT_ONCE if isinstance(part, ImageDataset) else _AT_ONCE
        yield from ((first, min(first + step, stop)) for first in range(start, stop, step))


def _in_order(work: Callable[[int, int], _Piece], pieces: Iterator[tuple[int, int]], threads: int) -> Iterator[_Piece]:
    """The pieces of work in their order, a few under way at a time: a million are not queued at once."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="lamina-check")
    pending: deque[Future[_Piece]] = deque()
    try:
        for piece in pieces:
            pending.append(pool.submit(work, *piece))
            if len(pending) >= _AHEAD * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # Ctrl-C: what is under way ends, and nothing new begins
        pool.shutdown(wait=True, cancel_futures=True)


def _look(
    picture: int, pictures: Pictures, besides: list[Beside], places: Places, piece: _Piece, *, looks: bool
) -> None:
    samples = pictures.samples(picture)
    number, row = samples[0]
    part, name = pictures.parts[number], pictures.names[number]
    where = name_of(part, row, name)
    assert not isinstance(part, ImageDataset)
    seen = inspect(where, looks=looks)
    piece.faults += [Fault("doubt", kind, where, what, part=name) for kind, what in places.strange(where)]
    origin = part.origin(row)
    origin = "" if origin == where else origin
    piece.faults += [Fault(level, kind, where, what, origin, name) for level, kind, what in seen.faults]
    piece.seen.append(seen)
    if seen.size is None:
        return
    first_of: dict[int, int] = {}
    for number, row in samples:
        part = pictures.parts[number]
        first = first_of.setdefault(int(pictures.task_of[number]), number)
        if number != first and pictures.names[number] not in USUAL:  # "trainval": what was said is not said again
            continue
        if besides[number] and isinstance(part, AnnotatedDataset):
            found = look_beside(besides[number], row, seen.size, len(part.classes))
            piece.classes.setdefault(number, set()).update(found.classes)
            piece.faults += [
                Fault(level, kind, file or where, what, part.origin(row), pictures.names[number])
                for level, kind, file, what in found.faults
            ]


def _keep(piece: _Piece, pictures: Pictures, findings: Findings) -> None:
    for fault in piece.faults:
        findings.take(fault)
    for number, classes in piece.classes.items():
        pictures.classes_seen[number][list(classes)] = True
    at = 0
    for picture, seen in enumerate(piece.seen, piece.first):
        pictures.content[picture], pictures.pixels[picture] = seen.content, seen.pixels
        if seen.size is not None:
            pictures.height[picture], pictures.width[picture] = seen.size
        if seen.grey is not None and piece.looks is not None:
            pictures.look[picture], flat = piece.looks[0][at], piece.looks[1][at]
            pictures.told_apart[picture] = not flat
            at += 1
        if seen.detail is not None:
            pictures.small[picture] = True
            pictures.detail[picture] = seen.detail.ravel()


def name_of(part: Part, row: int, name: str) -> str:
    """The file of a sample, or its number in the part where it has none."""
    if not isinstance(part, ImageDataset):
        return str(part.paths.name(row))
    return part.sources[row] if part.sources else f"{name}, picture {row:,}"


def _keys(number: int, part: Part) -> npt.NDArray[np.uint64]:
    """A number for each sample, the same for the same file."""
    if isinstance(part, ImageDataset):
        return (np.uint64(number) << np.uint64(40)) + np.arange(len(part), dtype=np.uint64)
    names = (part.paths.name(row) for row in range(len(part)))
    return np.fromiter((hash_of(os.fsencode(name)) for name in names), dtype=np.uint64, count=len(part))


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)
