"""Pictures that cannot be read: who takes their place, and how people are told of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError

_DRAWS = 20  # of which none can be read: the data is at fault
_REPLACED = 0x5EED
_NAMED = 20  # files in one warning
_LOOKED_AT = 100  # files among which there is one that can be read


def candidates(index: int, count: int) -> Iterator[int]:
    """A sample of `count`, and those that are drawn, one after the other, to take its place where it cannot be read.

    A function of the sample alone, so pictures in memory, workers and other processes agree, in every epoch.
    """
    yield index
    for attempt in range(1, _DRAWS):
        yield random.key(_REPLACED, index, attempt) % count


def failures(count: int, read: Callable[[int], object]) -> dict[int, DataError]:
    """Calls `read` for 0 .. count-1 on several threads, and gives back what was wrong with those that it could not read."""

    def tried(index: int) -> DataError | None:
        try:
            read(index)
        except DataError as error:
            return error
        return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return {index: error for index, error in enumerate(pool.map(tried, range(count))) if error is not None}


def first_readable(dataset: Any) -> Tensor:
    """The first picture of a data set that can be read. Raises DataError where none of the first hundred can."""
    picture: Tensor = first_sample(dataset)[0]
    return picture


def first_sample(dataset: Any) -> Any:
    """The first sample of a data set that can be read, as `first_readable`."""
    problem: DataError | None = None
    for index in range(min(len(dataset), _LOOKED_AT)):
        try:
            return dataset[index]
        except DataError as error:
            problem = problem or error
    raise problem or DataError("The data set is empty.", "At least one picture was expected.", "Check the path.")


def named(faults: Mapping[int, str]) -> str:
    """What is wrong with each, a line each, as far as anybody reads on."""
    lines = [f"  {faults[index]}" for index in sorted(faults)[:_NAMED]]
    more = len(faults) - _NAMED
    return "\n".join(lines if more <= 0 else [*lines, f"  ... and {more:,} more"])


def all_unreadable(what: str, faults: Mapping[int, str]) -> DataError:
    """The error for data of which nothing can be read."""
    return DataError(
        f"None of the {what} can be read:\n{named(faults)}\n",
        "Picture files were expected.",
        "Check that the files were copied or downloaded completely.",
    )


def too_many(index: int) -> DataError:
    """The error for a sample in whose place none could be found."""
    return DataError(
        f"{_DRAWS} pictures drawn one after the other, from number {index} on, cannot be read.",
        "Most pictures of a data set can be read.",
        "Check that the files were copied or downloaded completely.",
    )
