"""The description of a layer: small, immutable, compared by identity; builds plain torch modules at its first call."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError, ShapeError
from lamina.layers import probe
from lamina.layers.regularizers import Regularizer
from lamina.layers.symbol import Call, DataFormat, Op, Ref, Shape, Symbol, shown


class Binding:
    """What a description has built: its modules by sibling suffix, and the shapes it was built for."""

    __slots__ = ("given_name", "modules", "shapes")

    def __init__(self) -> None:
        self.modules: dict[str, nn.Module] | None = None
        self.shapes: tuple[Shape, ...] = ()
        self.given_name: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """A description; call it on a Symbol to use it. Called twice, both uses share the same modules.

    `name` is what was given, else what the first graph that it joins calls it ("dense", "dense_1", ...). `input_shape`
    is for the first layer of a Sequential: without the batch, (C, H, W).
    """

    name: str | None = field(default=None, kw_only=True)
    input_shape: Shape | None = field(default=None, kw_only=True)
    _binding: Binding = field(default_factory=Binding, init=False)

    input_dtype: ClassVar[torch.dtype] = torch.float32  # of the Input that Sequential makes from `input_shape`

    def __post_init__(self) -> None:
        self._binding.given_name = self.name
        for name, value in self.fields.items():  # what was computed from an array, such as labels.max() + 1
            if isinstance(value, np.integer | np.floating):
                self._set(name, value.item())
            elif isinstance(value, list | tuple) and any(
                isinstance(entry, np.integer | np.floating) for entry in value
            ):
                self._set(name, tuple(getattr(entry, "item", lambda entry=entry: entry)() for entry in value))
        if self.input_shape is not None:
            self._set("input_shape", tuple(self.input_shape))

    def _set(self, attribute: str, value: Any) -> None:
        """Normalises an argument while the description is made; afterwards nothing may change it."""
        object.__setattr__(self, attribute, value)

    @property
    def given_name(self) -> str | None:
        """The name the user gave, None if there is none."""
        return self._binding.given_name

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The modules built at the first call, by the suffix that their key adds to the layer's name."""
        return self._binding.modules or {}

    def rename(self, name: str) -> None:
        """Takes the name that the next graph that it joins has to give it."""
        self._binding.given_name = name

    def join(self, name: str) -> None:
        """Takes the automatic name of the first graph it joins."""
        if self.name is None:
            self._set("name", name)

    @property
    def stem(self) -> str:
        """What automatic names begin with: Keras's snake_case of the class."""
        return snake_case(type(self).__name__)

    @property
    def fields(self) -> dict[str, Any]:
        """The arguments by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}

    @property
    def penalties(self) -> dict[str, Regularizer]:
        """The regularizer of each penalised parameter, by the key that it adds to the layer's name: ".weight"."""
        return {}

    def config(self) -> dict[str, Any]:
        """The kind and the arguments as JSON-able values."""
        from lamina.layers.table import encode  # the table names every layer, so it stands above them

        return encode(self)

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        """The torch modules for these inputs in the order they run, by sibling suffix ("" has the layer's name)."""
        raise NotImplementedError(f"{type(self).__name__} builds nothing")

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        """What runs on these inputs: by default the modules, one after the other."""
        if len(inputs) != 1:
            raise LaminaError(
                f"{self.label(inputs)} was called on {len(inputs)} tensors.",
                "It takes one.",
                "Join them first, with layers.Concatenate or layers.Add.",
            )
        return tuple(Op(suffix, (Ref(position),)) for position, suffix in enumerate(self.modules))

    def probed(self, inputs: tuple[Symbol, ...]) -> list[Shape]:
        """The sizes that stand for the inputs while the result's shape is found."""
        return [x.sizes for x in inputs]

    def formats(self, inputs: tuple[Symbol, ...], count: int) -> tuple[DataFormat, ...]:
        """The data format of each of `count` results: the one of the inputs."""
        last = any(x.data_format == "channels_last" for x in inputs)
        return ("channels_last" if last else "channels_first",) * count

    def __call__(self, inputs: Symbol | Sequence[Symbol]) -> Any:
        """The symbol of the result (a tuple of them where a torch module returns a tuple).

        Raises ShapeError, naming the layer and the shapes, if the layer does not fit.
        """
        symbols = _checked(self, inputs)
        before = self._binding.modules
        try:
            self._bind(symbols)
            plan = self.plan(*symbols)
            with torch.no_grad():
                probed = [(sizes, x.dtype) for sizes, x in zip(self.probed(symbols), symbols, strict=True)]
                first, second = probe.shapes(plan, self.modules, probed)
            return self._results(symbols, plan, first, second)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            self._binding.modules = before  # a call that failed binds nothing
            if isinstance(error, LaminaError):
                raise
            raise self._misfit(symbols, f"torch says: {str(error).splitlines()[0]}.") from error

    def _bind(self, symbols: tuple[Symbol, ...]) -> None:
        if self._binding.modules is None:
            self._binding.modules = self.build(*symbols)
            self._binding.shapes = tuple(x.shape for x in symbols)
            return
        with torch.device("meta"):  # draws no random numbers, and costs no memory
            again = self.build(*symbols)
        if {suffix: repr(module) for suffix, module in again.items()} != {
            suffix: repr(module) for suffix, module in self.modules.items()
        }:
            built = ", ".join(shown(shape) for shape in self._binding.shapes)
            raise self._misfit(symbols, f"It was built for {built} at its first call, and shares those weights.")

    def _results(self, symbols: tuple[Symbol, ...], plan: tuple[Op, ...], first: Any, second: Any) -> Any:
        pairs = list(zip(first, second, strict=True)) if isinstance(first, (tuple, list)) else [(first, second)]
        if not pairs or not all(isinstance(entry, Tensor) for pair in pairs for entry in pair):
            raise LaminaError(
                f"{self.label(symbols)} returned {type(first).__name__}.",
                "A layer returns one tensor or a tuple of tensors.",
                "Put a small nn.Module around it that returns the tensors you need.",
            )
        several = isinstance(first, (tuple, list))
        call = Call(self, symbols, plan, len(pairs) if several else None)
        results = []
        for index, (one, other) in enumerate(pairs):
            sizes = probe.merged(one, other)
            if sizes is None:
                raise ShapeError(
                    f"{self.label(symbols)} mixes the samples of a batch: a batch of {probe.PROBES[0][0]} gives shape "
                    f"{tuple(one.shape)}, one of {probe.PROBES[1][0]} gives {tuple(other.shape)}.",
                    "The first axis of every tensor is the batch, and stays it.",
                    "Leave the first axis alone (layers.Reshape and layers.Flatten do).",
                )
            data_format = self.formats(symbols, len(pairs))[index]
            where = index if several else None
            results.append(Symbol(call, where, sizes=sizes, dtype=one.dtype, data_format=data_format))
        return tuple(results) if several else results[0]

    def label(self, inputs: tuple[Symbol, ...] = ()) -> str:
        """How errors call this layer: its name (the one it will get, counted along its inputs) and its kind."""
        name = self.name
        if name is None:
            number = sum(layer.stem == self.stem for layer in ancestors(inputs))
            name = f"{self.stem}_{number}" if number else self.stem
        return f"Layer {name!r} ({type(self).__name__})"

    def _misfit(self, symbols: tuple[Symbol, ...], expected: str) -> ShapeError:
        came = ", ".join(shown(x.shape) for x in symbols)
        return ShapeError(
            f"{self.label(symbols)} was called on shape {came} (without the batch).",
            expected,
            "Change the layer before it, or this layer's arguments, so that the shapes fit.",
        )

    def expects(self, symbol: Symbol, what: str, remedy: str) -> ShapeError:
        """The error for a shape this layer cannot take."""
        return ShapeError(f"{self.label((symbol,))} was called on shape {shown(symbol.shape)}.", what, remedy)

    def __repr__(self) -> str:
        given = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if f.init and getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(given)})"


@contextlib.contextmanager
def all_or_none(layers: Iterable[Layer]) -> Iterator[None]:
    """Within, several layers are called: if one fails, none stays bound to the shape that it was called on."""
    before = [(layer._binding, layer._binding.modules) for layer in layers]
    try:
        yield
    except Exception:
        for binding, modules in before:
            binding.modules = modules
        raise


def ancestors(symbols: tuple[Symbol, ...]) -> list[Layer]:
    """Every layer that these symbols come from, each once, in the order of its first use."""
    calls: dict[Call, None] = {}
    waiting = [x.call for x in symbols]
    while waiting:
        call = waiting.pop()
        if call not in calls:
            calls[call] = None
            waiting += [x.call for x in call.inputs]
    return list(dict.fromkeys(call.layer for call in sorted(calls, key=lambda call: call.serial)))


def snake_case(kind: str) -> str:
    """Keras's way from class to layer name: Conv2DTranspose gives conv2d_transpose, MaxPooling2D max_pooling2d."""
    spaced = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub("([a-z])([A-Z])", r"\1_\2", spaced).lower()


def _checked(layer: Layer, inputs: Any) -> tuple[Symbol, ...]:
    symbols = tuple(inputs) if isinstance(inputs, (list, tuple)) else (inputs,)
    strangers = [x for x in symbols if not isinstance(x, Symbol)]
    if strangers or not symbols:
        what = type(strangers[0]).__name__ if strangers else "an empty list"
        raise LaminaError(
            f"{layer.label()} was called on {what}.",
            "A layer description takes symbolic tensors: what layers.Input or another layer returned.",
            "Build a models.Sequential or models.Model from the layers, and call that on data.",
        )
    images = {x.data_format: x for x in symbols if x.rank == 4}
    if len(images) > 1:
        came = " and ".join(f"{shown(x.shape)} ({name})" for name, x in images.items())
        raise ShapeError(
            f"{layer.label(symbols)} was called on images of two data formats: {came}.",
            "All images of one network have the same data format.",
            "Give every layers.Input the same data_format.",
        )
    return symbols
