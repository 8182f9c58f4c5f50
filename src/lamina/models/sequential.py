"""A chain of layers, built when its input shape is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from lamina.core.errors import LaminaError
from lamina.layers.inputs import Input, first_input
from lamina.layers.layer import Layer, all_or_none
from lamina.layers.symbol import Symbol
from lamina.models.arrays import Arrays
from lamina.models.graph import Graph
from lamina.models.model import Model


class Sequential(Model):
    """Layers one after the other. The first one has `input_shape`, or is an `Input`, or the first call shows the shape."""

    def __init__(self, layers: Iterable[Any] = (), *, name: str = "sequential") -> None:
        super().__init__(name=name)
        self._layers: list[Any] = []
        self._input: Symbol | None = None
        self._pending = False
        for layer in layers:
            self._append(layer)
        self._pending = True
        self._try_build()

    def add(self, layer: Any) -> None:
        """Appends a layer; one that does not fit is not kept."""
        there = len(self._layers)
        self._append(layer)
        self._pending = True
        try:
            self._try_build()
        except LaminaError:
            del self._layers[there:]
            self._pending = self._net is None
            raise

    def pop(self) -> None:
        """Removes the last layer."""
        if not self._layers:
            raise LaminaError("This Sequential has no layer.", "pop removes the last one.", "Add a layer first.")
        self._layers.pop()
        self._pending = True
        if not self._layers:
            self.graph = self._net = self._step = None
        self._try_build()

    def _append(self, layer: Any) -> None:
        if isinstance(layer, Symbol):
            if self._layers or self._input is not None:
                raise LaminaError(
                    f"{layer} came after {len(self._layers)} layers.", "An Input stands first.", "Move it to the front."
                )
            self._input = layer
            return
        if not isinstance(layer, Layer | Model | nn.Module):
            raise LaminaError(
                f"A Sequential was given {type(layer).__name__}.",
                "It takes layers of lamina.layers, models made of them, and torch modules.",
                "Check what the call before it returned.",
            )
        self._layers.append(layer)

    def _try_build(self, like: Symbol | tuple[int, ...] | None = None) -> None:
        """Builds what is not built, where the input is known: from what was told, or from one like it."""
        first = self._begin(like) if self._input is None and self._layers else self._input
        if first is None or not self._layers or not self._pending:
            return
        waiting = [layer for layer in self._layers if isinstance(layer, Sequential) and layer._net is None]
        with all_or_none(self._leaves()):
            try:
                self._adopt(Graph.chain(self._layers, first))
            except Exception:
                for layer in waiting:
                    layer._forget()
                raise
        self._input, self._pending, self._step = first, False, None

    def _begin(self, like: Symbol | tuple[int, ...] | None) -> Symbol | None:
        shape = getattr(self._layers[0], "input_shape", None)
        if shape is None and isinstance(like, Symbol):
            return Input(like.shape, str(like.dtype).removeprefix("torch."), data_format=like.data_format)
        shape, first = like if shape is None else shape, self._layers[0]
        if shape is None or isinstance(shape, Symbol):
            return None
        return first_input(first, shape) if isinstance(first, Layer) else Input(shape)

    def _leaves(self) -> Iterator[Layer]:
        for layer in self._layers:
            if isinstance(layer, Sequential):
                yield from layer._leaves()
            elif isinstance(layer, Layer):
                yield layer

    def _forget(self) -> None:
        self.graph = self._net = self._step = self._input = None
        self._pending = True

    def _build(self, data: Arrays) -> None:
        if self._net is None:
            self._try_build(tuple(data.inputs[0].shape[1:]))

    @property
    def layers(self) -> list[Any]:
        """The layers in their order, built or not."""
        return list(self._layers)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Builds the network for samples of this shape, without the batch."""
        self._try_build(tuple(input_shape))

    def __call__(self, x: Any, *, training: bool = False) -> Any:
        if self._net is None and hasattr(x, "shape"):
            self._try_build(x if isinstance(x, Symbol) else tuple(x.shape[1:]))
        return super().__call__(x, training=training)
