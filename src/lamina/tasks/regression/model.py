"""Regressor: pictures in, numbers out. A Model with preprocessing, units, loss, metrics and results pre-wired."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina import losses, metrics
from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.data.pictures import shown
from lamina.data.preprocess import Preprocess
from lamina.models import Model, borrowed, file, objective, pictures
from lamina.models.arrays import Arrays, collect
from lamina.models.pictured import Pictured
from lamina.models.streams import one_each
from lamina.optimizers.schedules import Schedule
from lamina.structures.results import Regression
from lamina.tasks.regression import inputs, table
from lamina.tasks.regression.units import InUnit, InUnits, StandardisedLoss, Unit
from lamina.training import Runtime
from lamina.training.step import SupervisedStep

HELD_OUT = 0.1  # of the training pictures, where the caller brings no validation


class Regressor(Pictured):
    """One or several numbers for each picture.

    `network` is a name of `networks.names()` or a torch module that ends in as many outputs as there are numbers. How many
    there are comes from the targets of the first `fit`, and so do, unless told, the size and channels of the pictures. Inside,
    targets are standardised by the mean and standard deviation of the training set; answers and metrics are in their own unit.
    `names` are what results call the numbers. `pretrained` brings weights as for a Classifier, with a new last layer.
    """

    answers: ClassVar[str] = "values"
    _learnt: ClassVar[tuple[str, ...]] = (*Pictured._learnt, "names", "unit", "_lent")

    def __init__(
        self,
        network: str | nn.Module = "fastconvnet",
        *,
        pretrained: borrowed.Pretrained | None = None,
        names: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
    ) -> None:
        super().__init__(network, preprocess=preprocess)
        self.names = None if names is None else pictures.checked_names("names", names)
        self.unit: Unit | None = None
        self._lent = False  # whether the last layer is still that of borrowed weights
        self.compile()
        if isinstance(network, Model):
            raise LaminaError(
                f"The network is a {type(network).__name__}.",
                "A name of lamina.networks or a torch module was expected.",
                "Pass model.net.",
            )
        if pretrained is not None and pretrained is not False:
            lent = borrowed.borrow(network, pretrained)
            self._note_lent(lent)
            self._net, self._lent = lent.create(network, preprocess=self.preprocess)[0], True
            self._check_size(self._net)
        elif isinstance(network, nn.Module):
            self._net = network

    def compile(
        self,
        optimizer: Any = "adamw",
        loss: Any = "huber",
        metrics: Any = ("mae", "rmse", "r2"),
        *,
        loss_weights: Any = None,
        device: str = "auto",
        precision: str = "auto",
        schedule: str | Schedule | None = None,
        runtime: Runtime | None = None,
        update: Mapping[str, Any] | None = None,
    ) -> None:
        """As Model.compile. `loss` is "l1", "l2", "huber" or another loss of numbers, of standardised targets; metrics are not.

        Huber's delta is 1: one standard deviation of the training targets.
        """
        if losses.get(loss).activation is not None:
            raise LaminaError(
                f"The loss {loss!r} came.",
                "A loss of numbers was expected.",
                'Pass "l1", "l2" or "huber", or use a Classifier.',
            )
        super().compile(
            optimizer,
            loss,
            list(metrics) if isinstance(metrics, tuple) else metrics,
            loss_weights=loss_weights,
            device=device,
            precision=precision,
            schedule=schedule,
            runtime=runtime,
            update=update,
        )

    def _told(self) -> dict[str, Any]:
        told = super()._told()
        if self.unit is None:
            return told
        kind, given = losses.get(told["loss"]), told["metrics"]
        specs = given if isinstance(given, list | tuple) else [] if given is None else [given]
        made = [InUnits(metrics.get(spec, kind), self.unit) for spec in specs]
        return {**told, "loss": StandardisedLoss(kind, self.unit), "metrics": made}

    def _make_step(self) -> SupervisedStep:
        told, self._compiled = self._compiled, self._told()
        try:
            return super()._make_step()
        finally:
            self._compiled = told

    # Data ---------------------------------------------------------------------------------------------------------

    def _parts(self, x: Any, y: Any, held: Any, fraction: float | None) -> tuple[Any, Any]:
        train, validation, _, _ = self._split(x, y, held, fraction)
        return train, validation

    def _split(self, x: Any, y: Any, held: Any, fraction: float | None) -> tuple[Any, Any, Tensor, int]:
        """Pictures for training and validation, and which of those given are trained on, of how many."""
        inputs.refuse_bare(x, y)
        if self.preprocess is None:
            self._set_preprocess(inputs.fitting_preprocess(x, y, self._net))
        train = inputs.measured(x, y, self._prepared())
        readable, came = train.positions(), len(train) + len(train.unreadable)
        rows, split, validation = torch.arange(len(train)), {}, None
        if held is not None:
            pair = tuple(held) if isinstance(held, tuple | list) else (held, None)
            validation = inputs.measured(pair[0], pair[1] if len(pair) > 1 else None, self._prepared())
        elif fraction != 0:
            fraction = HELD_OUT if fraction is None else fraction
            split = {"held_out": fraction, "of": len(train), "by": "content hash"}
            rows, others = train.split(fraction)
            train, validation = train.subset(rows), train.subset(others)
        self._meet(train.labels)
        self._let_negative()  # borrowed, or brought along; that of a file answers as it was saved until it is trained
        self._note(train, split)
        return train, validation, readable[rows], came

    def _sets(self, x: Any, y: Any, weights: Any, held: Any, fraction: float | None) -> tuple[Arrays, Any]:
        train, validation, rows, came = self._split(x, y, held, fraction)
        given = one_each(weights, came)
        return collect(train.images, train.labels, weights=None if given is None else given[rows]), validation

    def _meet(self, targets: Tensor) -> None:
        """Takes how many numbers there are, and their unit, from the first training set; later ones must have as many."""
        count = targets.shape[1]
        if self.names is None:
            self.names = ("value",) if count == 1 else tuple(f"value {index}" for index in range(count))
        if len(self.names) != count:
            raise ShapeError(
                f"y has {count} numbers for each picture.",
                f"This regressor gives {len(self.names)}: {', '.join(self.names)}.",
                "Bring as many, or make a new Regressor.",
            )
        if self._lent:
            assert self._net is not None
            self._net, self._lent = borrowed.with_head(self._net, count), False
            if self.runtime.world.is_main:
                print(f"{self.name}: The last layer is one with fresh values, for {', '.join(self.names)}.")
        if self.unit is None:
            self.unit, self._step = Unit.of(targets), None
        if self._net is None:
            assert isinstance(self._network, str)
            self._net = self._create(self._network, count, negative=True)

    def _collect(self, x: Any, y: Any, weights: Any) -> Arrays:
        preprocess = self._prepared()
        if isinstance(x, Tensor) and y is None:
            return collect(x, None, weights=weights)
        found = inputs.measured(x, y, preprocess)
        assert self.names is not None
        if found.labels.shape[1] != len(self.names):
            self._meet(found.labels)  # raises
        return collect(found.images, found.labels, weights=weights)

    def numbered(self, data: Any) -> inputs.Measured:
        """Pictures as this regressor sees them (uint8 N C H W) with their numbers (N D): of a pair (x, y) as for `fit`, or of a CSV.

        In a CSV the first column names the files, from its folder on, and there is a column for each of `names`. Raises DataError for
        other data, ShapeError for another count of numbers.
        """
        preprocess = self._prepared()
        x: Any
        y: Any
        if isinstance(data, str | os.PathLike):
            x, y = table.read(data, self.names or ())
        elif isinstance(data, tuple | list) and len(data) == 2:
            x, y = data
        else:
            raise DataError(
                f"A {type(data).__name__} came as data.",
                "Pictures with their numbers were expected.",
                "Pass a pair (x, y) as for fit, or a CSV with files and numbers.",
            )
        found = inputs.measured(x, y, preprocess)
        self._meet(found.labels)  # raises for another count of numbers
        return found

    # Using it -----------------------------------------------------------------------------------------------------

    def predict_values(
        self, x: Any, batch_size: int = 256, *, engine: str = "auto", precision: str = "float32"
    ) -> np.ndarray[Any, Any]:
        """The numbers (N D, float32) for pictures, files, a folder or arrays, in the unit of the targets; see `predict`."""
        batch, _ = pictures.read(x, self._prepared())
        return self._fast_values(batch, batch_size, engine=engine, precision=precision)

    def predict(
        self,
        x: Any,
        batch_size: int = 256,
        verbose: str | int = 0,
        *,
        on_error: pictures.OnError = "raise",
        engine: str = "auto",
        precision: str = "float32",
    ) -> Any:
        """The numbers of a picture (one Regression), or of several (a list): files, a folder or arrays; see Classifier.predict."""
        batch, sources = pictures.read(x, self._prepared(), on_error)
        results = self.results(self._fast_values(batch, batch_size, engine=engine, precision=precision), sources)
        return results[0] if pictures.is_single(x, self._prepared().channels) else results

    def results(self, answers: np.ndarray[Any, Any], sources: Sequence[Any] = ()) -> list[Any]:
        """A Regression of each row of numbers (B D), in the unit of the targets."""
        results = []
        for index, row in enumerate(answers):
            source = sources[index] if index < len(sources) else None
            results.append(Regression(self.names or (), row, **shown(source)))
        return results

    def _fast_values(self, batch: Tensor, batch_size: int, *, engine: str, precision: str) -> np.ndarray[Any, Any]:
        if self.unit is None:
            raise self._untrained()
        asked: dict[str, Any] = {"batch_size": batch_size, "engine": engine, "precision": precision}
        return self.engines.answer(self, batch, lambda some: self._values(some, batch_size), **asked)

    def _values(self, batch: Tensor, batch_size: int) -> np.ndarray[Any, Any]:
        (raw,) = self._answers(batch, batch_size)
        assert self.unit is not None
        return self.unit.answers(raw).numpy()

    def _prepared(self) -> Preprocess:
        """The preprocessing, once it is known."""
        if self.preprocess is None:
            raise self._untrained()
        return self.preprocess

    def _answers(self, x: Any, batch_size: int) -> list[Tensor]:
        if self.unit is None:
            raise self._untrained()
        return super()._answers(x, batch_size)

    def _in_order(self, data: Any, batch_size: int) -> Any:
        if not isinstance(data, Arrays):
            pictures.refuse_batches(type(self).__name__, data)
        return super()._in_order(data, batch_size)

    def _untrained(self) -> LaminaError:
        return LaminaError(
            "This regressor has no weights yet.",
            "Its numbers, its preprocessing and its weights come from training or from a file.",
            "Call fit(x, y) first, or open a file with lamina.load.",
        )

    def _finish(self) -> nn.Module:
        if self.unit is None:
            raise self._untrained()
        return InUnit(self.unit)

    def _description(self) -> dict[str, Any]:
        """Network, names, unit, preprocessing, split and last figures as they are now."""
        if self.unit is None:
            raise self._untrained()
        return {
            "kind": "regressor",
            "compiled": objective.tell(self._compiled or {}),
            "network": self._described(),
            "names": list(self.names or ()),
            "mean": list(self.unit.mean),
            "std": list(self.unit.std),
            "preprocess": self._prepared().to_dict(),
            **self._facts(),
        }

    @classmethod
    def from_file(cls, contents: file.Contents, *, modules: Mapping[str, Any] | None = None) -> Regressor:
        """The regressor that `save` wrote; see `lamina.load`."""
        net, _ = file.rebuild(contents, modules or {})
        described = contents.description
        regressor = cls(net, names=described["names"], preprocess=Preprocess.from_dict(described["preprocess"]))
        regressor.unit = Unit(tuple(map(float, described["mean"])), tuple(map(float, described["std"])))
        regressor.name = described["network"].get("name", regressor.name)
        regressor._recall(described)
        if described.get("compiled"):
            regressor.compile(**objective.recall(described["compiled"]))
        return regressor
