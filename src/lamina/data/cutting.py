"""Which samples of a data set: positions, a part held out by content, a balanced few."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from lamina.core.errors import DataError


def positions(indices: Sequence[int] | Tensor, count: int) -> Int64[Tensor, " M"]:
    """Positions from 0 on, of such, of a mask, or of such as count from the end."""
    given = torch.as_tensor(indices)
    chosen = given if given.dtype == torch.bool else given.to(torch.int64)
    try:
        return torch.arange(count)[chosen]
    except IndexError as error:
        raise DataError(
            f"Positions came that the data set does not have ({error}).",
            f"Numbers below {count:,}, or a mask of {count:,}, were expected.",
            "Check which data set they are of.",
        ) from error


def split_by_content(
    contents: Iterable[bytes], count: int, *, fraction: float, seed: int
) -> tuple[Int64[Tensor, " R"], Int64[Tensor, " S"]]:
    """Positions of the rest and of the pictures with the smallest hashes."""
    if not 0.0 < fraction < 1.0:
        raise DataError(f"fraction is {fraction}.", "It lies between 0 and 1.", "Pass 0.1 to hold a tenth out.")
    salt = seed.to_bytes(16, "little", signed=True)
    digests = (hashlib.blake2b(content, digest_size=8, key=salt).digest() for content in contents)
    hashes = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    wanted = min(max(round(count * fraction), 1), max(count - 1, 1))
    held = torch.from_numpy(hashes <= np.partition(hashes, wanted - 1)[wanted - 1])
    if held.all():
        raise DataError(
            f"The {count:,} pictures cannot be split: those left over equal the ones held out.",
            "At least two different pictures were expected.",
            "Remove the duplicates or add pictures.",
        )
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def balanced_prefix(labels: Int64[Tensor, " N"], count: int) -> Int64[Tensor, " S"]:
    """The positions of the first `count` samples when classes take turns, in ascending order."""
    if count < 1:
        raise DataError(f"The limit is {count}.", "At least one sample was expected.", "Pass 1 or more.")
    if labels.dim() == 2:  # several labels for each picture, which no order balances
        return torch.arange(min(count, len(labels)))
    by_class = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels)
    starts = torch.cumsum(sizes, 0) - sizes
    turn = torch.empty_like(labels)
    turn[by_class] = torch.arange(len(labels)) - starts[labels[by_class]]
    return torch.argsort(turn, stable=True)[:count].sort().values
