"""How every data set is cut: a part held out, and folds for cross-validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from lamina.core.errors import DataError, listed
from lamina.core.warnings import warn
from lamina.data import folds
from lamina.data.cutting import balanced_prefix, split_by_content
from lamina.data.folds import Groups, Integers


class Cuttable(ABC):
    """A data set that can be cut. `cut` tells which fold it was trained without, where it is the rest of one."""

    cut: Mapping[str, Any] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    def _repr_html_(self) -> str:
        from lamina.data import looking  # which knows every kind of data set

        return looking.html_of(self)

    @abstractmethod
    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """The samples at these positions, in this order, or where a mask (N) is true."""

    @abstractmethod
    def _contents(self) -> Iterable[bytes]:
        """What tells each sample from others, wherever it lies."""

    @abstractmethod
    def _strata(self) -> Tensor | None:
        """The class of each sample (N), or 0 and 1 for each class (N K); None where samples have no classes."""

    def split(
        self, fraction: float, *, seed: int = 0, stratify: bool = False, groups: Groups | None = None
    ) -> tuple[Self, Self]:
        """(rest, held out): about `fraction` of the samples are held out, chosen by a hash of their pictures' content.

        Names and order do not matter, and equal pictures never land on both sides. With `stratify` the fraction is that of
        each class too. `groups` (N), such as a patient or a video for each sample, stay whole.
        """
        if not stratify and groups is None:
            rest, held = split_by_content(self._contents(), len(self), fraction=fraction, seed=seed)
            return self.subset(rest), self.subset(held)
        if not 0.0 < fraction < 1.0:
            raise DataError(f"fraction is {fraction}.", "It lies between 0 and 1.", "Pass 0.1 to hold a tenth out.")
        parts = self._dealt([1 - fraction, fraction], self._strata() if stratify else None, groups=groups, seed=seed)
        return self.subset(parts == 0), self.subset(parts == 1)

    def folds(self, n: int = 5, *, groups: Groups | None = None, seed: int = 0) -> Iterator[tuple[Self, Self]]:
        """n times (train, validation): each sample is validated once, and trained on in all other pairs.

        Each fold has its share of each class, to within one sample, where pictures have classes. Which fold a sample is of goes
        by a hash of its picture's content: names and order do not matter, and equal pictures are of one fold. `groups` (N), such as
        a patient or a video for each sample, stay whole. Raises DataError for fewer than n pictures or groups that differ.
        """
        parts = self.fold_of(n, groups=groups, seed=seed)
        told = {} if groups is not None else {"folds": n, "seed": seed, "of": len(self)}
        return (self._pair(parts == part, {**told, "fold": part} if told else {}) for part in range(n))

    def fold_of(self, n: int = 5, *, groups: Groups | None = None, seed: int = 0) -> Tensor:
        """The fold of each sample (N), 0 .. n-1: those that `folds` validates on, one after the other."""
        if not isinstance(n, int) or n < 2:
            raise DataError(f"{n!r} folds came.", "Two or more were expected.", "Usual are 5, or 10.")
        strata = self._strata()
        parts = self._dealt([1 / n] * n, strata, groups=groups, seed=seed)
        if strata is not None and strata.dim() == 1:
            self._warn_of_rare(torch.bincount(strata), n)
        return parts

    def _pair(self, held: Tensor, cut: Mapping[str, Any]) -> tuple[Self, Self]:
        rest = self.subset(~held)
        rest.cut = cut
        return rest, self.subset(held)

    def _dealt(self, shares: Sequence[float], strata: Tensor | None, *, groups: Groups | None, seed: int) -> Tensor:
        units = folds.units(self._contents(), len(self), groups=groups, seed=seed)
        different = int(units.max()) + 1
        if different < len(shares):
            what = "pictures that differ" if groups is None else "groups that share no picture"
            raise DataError(
                f"{len(self):,} samples have {different:,} {what}, and {len(shares)} parts were asked for.",
                "Each part needs one or more.",
                "Ask for fewer folds, or remove the duplicates.",
            )
        return folds.dealt(units, strata, shares)

    def _warn_of_rare(self, sizes: Tensor, n: int) -> None:
        names = getattr(self, "classes", ())
        rare = [f"{names[index]} ({size})" for index, size in enumerate(sizes.tolist()) if 0 < size < n]
        if rare:
            warn(
                f"{n} folds, and these classes have fewer samples: {listed(rare)}. "
                "Some folds validate without them. Use fewer folds, or bring more samples."
            )


class Labelled(Cuttable):
    """A data set of pictures that have a label each: `labels` (N), or 0 and 1 for each class (N K), and the names of `classes`."""

    labels: Tensor
    classes: tuple[str, ...]

    def _strata(self) -> Tensor:
        return self.labels

    def limit(self, count: int) -> Self:
        """The first `count` pictures, balanced over the classes: the first of each, then the second, and so on."""
        return self.subset(balanced_prefix(self.labels, count)) if count < len(self) else self

    def counts(self) -> Integers:
        """How many pictures each class has (K); one with several labels counts for each."""
        summed = (
            self.labels.sum(0) if self.labels.dim() == 2 else torch.bincount(self.labels, minlength=len(self.classes))
        )
        counted: Integers = summed.cpu().numpy()
        return counted

    def few_shot(self, k: int, *, seed: int = 0) -> Self:
        """k pictures of each class, drawn by the seed; those of a smaller k are among them. Raises where a class has fewer."""
        return self.subset(folds.few_of_each(self.labels, self.classes, k, seed=seed))
