"""Parts of a data set that share nothing: every sample is in one of them, classes are spread evenly, groups stay whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError, listed

Integers = npt.NDArray[np.int64]
Groups = Sequence[Any] | npt.NDArray[Any] | Tensor


def units(contents: Iterable[bytes], count: int, *, groups: Groups | None, seed: int) -> Int64[Tensor, " N"]:
    """What must stay together: samples of equal content or of one group, and what these share others with, have one number.

    Numbers go by a hash of the contents, so the order of the samples does not matter. Raises DataError for another number
    of groups than `count`.
    """
    salt = seed.to_bytes(16, "little", signed=True)
    hashes = [int.from_bytes(hashlib.blake2b(each, digest_size=8, key=salt).digest(), "little") for each in contents]
    _, same = np.unique(np.array(hashes, dtype=np.uint64), return_inverse=True)
    if groups is None:
        return torch.from_numpy(same.astype(np.int64))
    try:
        named = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
        _, group = np.unique(named, return_inverse=True)
    except (TypeError, ValueError) as error:  # None among them, or lists of several lengths
        raise DataError(
            f"The groups cannot be told apart ({error}).",
            "Each sample has one group, a name or a number.",
            "Give a sample that is of no group one of its own.",
        ) from error
    if named.shape != (count,):
        raise DataError(
            f"There are {count:,} samples, and groups of shape {named.shape}.",
            "Each sample has one group, such as the name of its patient or video.",
            "Pass one for each sample, in the order of the data set.",
        )
    unit, before = same.astype(np.int64), np.full(count, -1, np.int64)
    while not np.array_equal(unit, before):  # a copy in two groups joins them: as often as it takes
        before = unit
        unit = _least(_least(unit, group), same)
    return torch.from_numpy(np.unique(unit, return_inverse=True)[1].astype(np.int64))


def dealt(units: Int64[Tensor, " N"], labels: Tensor | None, shares: Sequence[float]) -> Int64[Tensor, " N"]:
    """The part of each sample: part p has about `shares[p]` of all, and of each class of `labels` (N, or 0 and 1: N K).

    Units are never torn. Those of several samples are placed first, the largest before others, each where its classes lack
    most; single samples then fill up what each part lacks of their class, so that without large units each part has its
    share of each class to within one sample.
    """
    unit, wanted = units.numpy(), np.array(shares, dtype=np.float64)
    classes = np.zeros(len(unit), np.int64) if labels is None else labels.cpu().numpy()
    several = classes.ndim == 2
    rows = np.argsort(unit, kind="stable")
    sizes = np.bincount(unit)
    firsts = np.cumsum(sizes) - sizes
    totals = classes.sum(0) if several else np.bincount(classes)
    plan = _Plan(totals, len(unit), wanted)
    part = np.full(len(unit), -1, np.int64)
    whole = np.arange(len(sizes)) if several else (sizes > 1).nonzero()[0]
    for number in whole[np.argsort(-sizes[whole], kind="stable")]:
        members = rows[firsts[number] : firsts[number] + sizes[number]]
        own = classes[members].sum(0) if several else np.bincount(classes[members], minlength=len(totals))
        part[members] = plan.place(own, len(members))
    left = rows[part[rows] < 0]  # single samples, in the order of their hashes
    left = left if several else left[np.argsort(classes[left], kind="stable")]
    for members in np.split(left, np.cumsum(np.bincount(classes[left]))[:-1]) if len(left) else ():
        if len(members):
            part[members] = np.repeat(np.arange(len(wanted)), plan.fill(int(classes[members[0]]), len(members)))
    for empty in set(range(len(wanted))) - set(part.tolist()):
        lightest = min(set(unit[part == np.bincount(part).argmax()].tolist()), key=lambda each: (sizes[each], each))
        part[unit == lightest] = empty
    return torch.from_numpy(part)


class _Plan:
    """How much of each class each part has so far (P K), and should have."""

    def __init__(self, totals: Integers, count: int, shares: npt.NDArray[np.float64]) -> None:
        self.shares = shares
        self.totals = np.append(totals, count).astype(np.float64)  # the last column counts all samples
        self.has = np.zeros((len(shares), len(self.totals)))
        self._scale = 1 / np.maximum(self.totals, 1) ** 2

    def place(self, own: Integers, size: int) -> int:
        """The part where a unit makes the sum of squares of (what a part has of a class / of all) grow least, by shares."""
        more = np.append(own, size)
        growth = ((2 * self.has + more) * more * self._scale).sum(axis=1) / self.shares
        part = int(growth.argmin())
        self.has[part] += more
        return part

    def fill(self, kind: int, count: int) -> Integers:
        """How many of `count` single samples of a class go to each part."""
        lacking = np.maximum(self.shares * self.totals[kind] - self.has[:, kind], 0.0)
        lacking *= count / lacking.sum()
        given: Integers = np.floor(lacking + 1e-9).astype(np.int64)
        rest = count - int(given.sum())
        # What is over goes to where most is lacking; in a tie, to the part that is smallest so far.
        first = np.lexsort((self.has[:, -1] / self.shares, -np.round(lacking - given, 6)))
        given[first[:rest]] += 1
        self.has[:, kind] += given
        self.has[:, -1] += given
        return given


def few_of_each(labels: Tensor, classes: Sequence[str], k: int, *, seed: int) -> Int64[Tensor, " M"]:
    """The positions of k samples of each class, drawn by the seed; the fewer are among the more. Raises where a class has fewer."""
    if not isinstance(k, int) or k < 1:
        raise DataError(f"k is {k}.", "At least one sample of each class was expected.", "Pass 1 or more.")
    if labels.dim() != 1:
        raise DataError(
            f"The labels have the shape {tuple(labels.shape)}: several for each picture.",
            "k samples of each class are drawn where each sample is of one.",
            "Use limit(count), or choose them yourself: subset(positions).",
        )
    sizes = torch.bincount(labels, minlength=len(classes))
    lacking = [f"{name!r} {size}" for name, size in zip(classes, sizes.tolist(), strict=True) if size < k]
    if lacking:
        raise DataError(
            f"k is {k}, and these classes have fewer samples: {listed(lacking)}.",
            "At least k of each class were expected.",
            f"Pass k={int(sizes.min())}, or leave these classes out." if int(sizes.min()) else "Leave these out.",
        )
    mixed = random.order(random.key(seed), len(labels))
    by_class = mixed[torch.argsort(labels[mixed], stable=True)]
    firsts = sizes.cumsum(0) - sizes
    return by_class[(firsts[:, None] + torch.arange(k)).flatten()].sort().values


def _least(values: Integers, keys: Integers) -> Integers:
    """For each entry the least value among those of its key."""
    least = np.full(int(keys.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, keys, values)
    return least[keys]
