"""Cross-validation: as many models as folds, each measured on the part of the data that it was not trained on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.core.errors import LaminaError
from lamina.data.cuttable import Cuttable
from lamina.data.folds import Groups
from lamina.models.comparison import shown


@dataclass(frozen=True)
class CrossValidation:
    """The figures of each fold, by name, and the models that were trained; prints itself as a table.

    `mean` and `std` (with n - 1) are over the folds. The standard deviation tells how much a figure depends on which samples are
    trained on and measured; the folds share training samples, so it is no error of the mean.
    """

    figures: Sequence[Mapping[str, float]]
    models: Sequence[Any] = ()

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each figure over the folds."""
        return {name: statistics.mean(row[name] for row in self.figures) for name in self._names()}

    @property
    def std(self) -> dict[str, float]:
        """The standard deviation of each figure over the folds."""
        return {name: statistics.stdev(row[name] for row in self.figures) for name in self._names()}

    def _names(self) -> list[str]:
        return [name for name in self.figures[0] if all(name in row for row in self.figures)]

    def __str__(self) -> str:
        names = self._names()
        rows = [(f"fold {number}", row) for number, row in enumerate(self.figures, 1)]
        rows += [("mean", self.mean), ("std", self.std)]
        lines = [["", *names], *([title, *(shown(name, row[name]) for name in names)] for title, row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        told = [
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        ]
        return "\n".join(line.rstrip() for line in told)

    __repr__ = __str__


def cross_validate(
    make: Callable[[Any, Any], Any], data: Cuttable, *, folds: int = 5, groups: Groups | None = None, seed: int = 0
) -> CrossValidation:
    """Trains a model on each of `folds` parts' rest, and measures it on the part.

    `make(train, validation)` gives a trained model: a new one each time. The parts are those of `data.folds`: classes are
    spread evenly, equal pictures and `groups` (N) stay together. Whatever is chosen by `validation`, the epoch to stop
    at for instance, flatters the figures. `lamina.Ensemble(result.models)` answers as one.
    """
    if not isinstance(data, Cuttable):
        raise LaminaError(
            f"cross_validate was given a {type(data).__name__}.",
            "A data set was expected, such as ImageDataset or FolderDataset.",
            'Pass data.open("photos/").train, or ImageDataset(images, labels, classes).',
        )
    figures, models = [], []
    for train, validation in data.folds(folds, groups=groups, seed=seed):
        model = make(train, validation)
        if not hasattr(model, "evaluate"):
            raise LaminaError(
                f"make gave {'nothing' if model is None else f'a {type(model).__name__}'}.",
                "The trained model was expected, which evaluate(validation) measures.",
                "Return it from the function.",
            )
        models.append(model)
        figures.append(dict(model.evaluate(validation)))
    return CrossValidation(figures, models)
