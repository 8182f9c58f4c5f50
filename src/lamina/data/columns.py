"""What is known of each sample, stored by column: a few arrays for millions of samples, and no Python object for any of them.

A column has a length; `take(rows)` gives the same column of some samples, and `at(index, size)` what it knows of one, whose
picture has the size (height, width) in pixels.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lamina.data.paths import Paths

Size = tuple[int, int]


class Column(Protocol):
    """One thing that is known of each of N samples."""

    def __len__(self) -> int:
        """N."""
        ...

    def at(self, index: int, size: Size) -> Any:
        """What is known of one sample, whose picture has this (height, width)."""
        ...

    def take(self, rows: npt.NDArray[np.int64]) -> Column:
        """The column of these samples, in this order."""
        ...


class Fixed:
    """As many numbers for each sample: values (N ...)."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = np.asarray(values)

    def __len__(self) -> int:
        return len(self.values)

    def at(self, index: int, size: Size) -> Tensor:
        """The numbers of one sample (...)."""
        return torch.from_numpy(np.array(self.values[index]))

    def take(self, rows: npt.NDArray[np.int64]) -> Fixed:
        """The column of these samples."""
        return Fixed(self.values[rows])


class Ragged:
    """Several numbers, or rows of them, for each sample: values (M ...), of which sample i has `ends[i] .. ends[i + 1]`.

    `per_picture`: the values are shares of the picture's width and height, x and y in turn, as YOLO writes them; `at` gives
    pixels. `finish` makes of the numbers of one sample, and its picture's size, what is given out. `of_objects`: where the
    column is none of Annotation's fields, it is an attribute of each object, and not an extra of the picture.
    """

    def __init__(
        self,
        values: npt.NDArray[Any],
        ends: npt.NDArray[np.int64],
        *,
        per_picture: bool = False,
        finish: Callable[[Tensor, Size], Tensor] | None = None,
        of_objects: bool = False,
    ) -> None:
        self.values, self.ends = np.asarray(values), np.asarray(ends, dtype=np.int64)
        self.per_picture, self.finish, self.of_objects = per_picture, finish, of_objects

    @classmethod
    def grouped(
        cls,
        owners: npt.NDArray[np.int64],
        values: npt.NDArray[Any],
        count: int,
        *,
        per_picture: bool = False,
        of_objects: bool = False,
    ) -> Ragged:
        """The column of `count` samples from values (M ...) in any order, each with the number of the sample that it belongs to."""
        order = np.argsort(owners, kind="stable")
        ends = ends_of(np.bincount(owners, minlength=count))
        return cls(np.asarray(values)[order], ends, per_picture=per_picture, of_objects=of_objects)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def at(self, index: int, size: Size) -> Tensor:
        """The numbers of one sample (n ...)."""
        found = torch.from_numpy(np.array(self.values[self.ends[index] : self.ends[index + 1]]))
        if self.per_picture:
            height, width = size
            found = found * torch.tensor([width, height] * (found.shape[-1] // 2), dtype=found.dtype)
        return found if self.finish is None else self.finish(found, size)

    def take(self, rows: npt.NDArray[np.int64]) -> Ragged:
        """The column of these samples."""
        chosen, ends = spans(self.ends, rows)
        made = copy.copy(self)
        made.values, made.ends = self.values[chosen], ends
        return made


class Texts:
    """Several texts for each sample, such as its captions, as one block of bytes. `at` gives a tuple of strings."""

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        listed = list(texts)
        counts = np.array([len(several) for several in listed], dtype=np.int64)
        parts = [text.encode("utf-8", "surrogatepass") for several in listed for text in several]
        self._set(b"".join(parts), ends_of([len(part) for part in parts]), ends_of(counts))

    @classmethod
    def packed(cls, content: bytes, ends: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]) -> Texts:
        """From UTF-8 in one piece: text i is at `ends[i] .. ends[i + 1]`, and sample j has those from `groups[j]` to `groups[j + 1]`."""
        made = object.__new__(cls)
        made._set(content, ends, groups)
        return made

    def _set(self, content: bytes, ends: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]) -> None:
        self._content, self._ends, self._groups = content, ends, groups

    def __len__(self) -> int:
        return len(self._groups) - 1

    def at(self, index: int, size: Size = (0, 0)) -> tuple[str, ...]:
        """The texts of one sample."""
        ends = self._ends[self._groups[index] : self._groups[index + 1] + 1].tolist()
        return tuple(self._content[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(ends))

    def take(self, rows: npt.NDArray[np.int64]) -> Texts:
        """The column of these samples."""
        chosen, groups = spans(self._groups, rows)
        begin, stop = self._ends[chosen], self._ends[chosen + 1]
        # in pieces: positions of single letters would take eight times the text
        content = b"".join(self._content[a:b] for a, b in zip(begin.tolist(), stop.tolist(), strict=True))
        return Texts.packed(content, ends_of(stop - begin), groups)


class Shapes:
    """The outlines or pixels of each sample's objects as the annotations have them (JSON), drawn when they are asked for.

    `draw` makes of one object, read from its JSON text, and its picture's size a mask (H W, bool).
    """

    def __init__(self, texts: Texts, draw: Callable[[Any, Size], npt.NDArray[np.bool_]]) -> None:
        self._texts, self._draw = texts, draw

    def __len__(self) -> int:
        return len(self._texts)

    def at(self, index: int, size: Size) -> Tensor:
        """The masks of one sample's objects (n H W)."""
        masks = [self._draw(json.loads(text), size) for text in self._texts.at(index)]
        return torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, *size), dtype=torch.bool)

    def take(self, rows: npt.NDArray[np.int64]) -> Shapes:
        """The column of these samples."""
        return Shapes(self._texts.take(rows), self._draw)


class Beside:
    """A file that belongs to each sample, such as its mask, read by `read(path, size)`; None where the path is empty."""

    def __init__(self, paths: Paths, read: Callable[[str, Size], Any], *, of_objects: bool = False) -> None:
        self.paths, self._read, self.of_objects = paths, read, of_objects

    def __len__(self) -> int:
        return len(self.paths)

    def at(self, index: int, size: Size) -> Any:
        """What is in the file of one sample."""
        path = self.paths.name(index)
        return self._read(path, size) if path else None

    def take(self, rows: npt.NDArray[np.int64]) -> Beside:
        """The column of these samples."""
        return Beside(self.paths.take(torch.from_numpy(rows)), self._read, of_objects=self.of_objects)


def ends_of(counts: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where the values of each of N samples begin, and the last one's end (N+1), from how many each has."""
    ends = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=ends[1:])
    return ends


def spans(
    ends: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(positions of the values of these samples, their own ends)."""
    counts = ends[rows + 1] - ends[rows]
    made = ends_of(counts)
    starts = np.repeat(ends[rows] - made[:-1], counts)
    return np.arange(made[-1], dtype=np.int64) + starts, made
