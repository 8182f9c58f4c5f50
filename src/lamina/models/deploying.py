"""What stays of a model: its file, and what it hands over to be exported, timed and served."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.export.deployable import Cast, Deployable, named
from lamina.models import file, objective
from lamina.models.card import Card
from lamina.models.exporting import Exporting

_ROWS = 2  # of an example


class Deploying(Exporting):
    """The methods of a Model by which it outlives the process, or leaves the library."""

    def save(self: Any, path: str | os.PathLike[str]) -> Path:
        """Writes the one file: weights, description, and what was compiled. An existing file survives a failure."""
        write = self._taken()  # by all processes, for a network may be spread over them; the first one writes
        return write(path) if self.runtime.world.is_main else Path(path)

    def _taken(self: Any) -> Callable[[str | os.PathLike[str]], Path]:
        """The model as it is now, with averaged weights where it has them, copied; the function given back writes it."""
        with self._averaged():
            write: Callable[[str | os.PathLike[str]], Path] = self._copied()
        return write

    def _copied(self: Any) -> Callable[[str | os.PathLike[str]], Path]:
        """The function that writes the model as it is now."""
        return file.take(self._own_net, {**self._description(), "parameters": self.count_params()})

    def card(self: Any) -> Card:
        """What is known of the model: its network, what it learnt from, its figures, its licence."""
        return Card(self._description(), self.count_params())

    def _description(self: Any) -> dict[str, Any]:
        """What a file tells of this model beside its weights: JSON."""
        return {"kind": "model", "network": self._described(), "compiled": objective.tell(self._compiled or {})}

    def deployable(self: Any, example: Any = None) -> Deployable:
        """The network with what stands before and behind it, and what is known of it.

        `example` is an input of two samples (a list for several); a model made of layers knows its own.
        """
        self._is_shared = True  # by whoever asked
        deployed: Deployable = self._deployable(example)
        return deployed

    def _deployable(self: Any, example: Any = None) -> Deployable:
        """The same for methods that hand it to nobody."""
        given = self._example(example)
        told: Sequence[str] = () if self.graph is None else self.graph.input_names
        outputs: Sequence[str] = () if self.graph is None else self.graph.output_names
        looks_up = any(isinstance(module, nn.Embedding) for module in self._own_net.modules())
        return Deployable(
            self._own_net,
            Cast(images_alone=looks_up),
            nn.Identity(),
            given,
            inputs=named(told, len(given), stem="inputs"),
            answers=named(outputs, max(len(outputs), 1), stem="outputs"),
            description=self._description(),
        )

    def _example(self: Any, example: Any) -> tuple[Tensor, ...]:
        if example is not None:
            values = example if isinstance(example, list | tuple) else [example]
            return tuple(torch.as_tensor(value)[:_ROWS] for value in values)
        shapes = [] if self.graph is None else self.graph.input_shapes
        if not shapes or any(length is None for shape in shapes for length in shape):
            raise LaminaError(
                "The shape of this model's input is not known.",
                "A torch module does not tell it, and a layer's input may be open.",
                "Pass an example: a batch of two samples.",
            )
        kinds = [symbol.dtype for symbol in self.graph.inputs]
        return tuple(torch.zeros(_ROWS, *shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True))
