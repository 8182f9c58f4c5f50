"""Millions of file names as one block of bytes."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

_AT_ONCE = (
    1 << 16
)  # names taken out before they are joined: lists of millions of small objects cost more than the names


class Paths(Sequence[Path]):
    """File names, made into `Path` objects when they are asked for.

    A list of five million Path objects takes gigabytes, and forked workers copy all of it: reading an object writes to its
    reference count, and so to its page. Here workers share one object of bytes and one array.
    """

    __slots__ = ("_bytes", "_ends", "_start")

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        names = [os.fsencode(path) for path in paths]
        start = _shared_start(min(names), max(names)) if names else b""
        self._start = start
        self._bytes = b"".join([name[len(start) :] for name in names])
        self._ends = np.cumsum([0, *(len(name) - len(start) for name in names)], dtype=np.int64)

    @classmethod
    def packed(cls, start: str | os.PathLike[str], content: bytes, ends: npt.NDArray[np.int64]) -> Paths:
        """From names in one piece, each behind `start`: name i is at `ends[i] .. ends[i + 1]`."""
        made = cls(())
        made._start, made._bytes, made._ends = os.fsencode(start), content, ends
        return made

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return Path(self.name(index))

    def __iter__(self) -> Iterator[Path]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Paths, {len(self):,} below {os.fsdecode(self._start)}>"

    def name(self, index: int) -> str:
        """The path as text. A `Path` interns its parts: in a worker that reads millions, Python's table of them grows."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"There are {len(self)} paths, and no number {index}.")
        return os.fsdecode(self._start + self._own(index % len(self)))

    def take(self, indices: Sequence[int] | Tensor) -> Paths:
        """The names at these positions, in this order. Raises IndexError for one that is outside."""
        chosen = np.arange(len(self))[np.asarray(indices, dtype=np.int64)]
        taken = Paths(())
        taken._start = self._start
        taken._ends = np.concatenate([[0], np.cumsum(self._ends[chosen + 1] - self._ends[chosen])])
        parts = (chosen[at : at + _AT_ONCE].tolist() for at in range(0, len(chosen), _AT_ONCE))
        taken._bytes = b"".join([b"".join([self._own(index) for index in part]) for part in parts])
        return taken

    def digest_parts(self) -> tuple[bytes, ...]:
        """All that tells one list of names from another, to be hashed."""
        return self._start, self._bytes, self._ends.tobytes()

    def _own(self, index: int) -> bytes:
        return self._bytes[self._ends[index] : self._ends[index + 1]]


def _shared_start(first: bytes, second: bytes) -> bytes:
    """What two names begin with; of the first and the last of many in order, all of them do."""
    length = next((at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
    return first[: min(len(first), len(second)) if length is None else length]
