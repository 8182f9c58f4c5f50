"""What stands for a tensor while a network is described: shape, kind of numbers, and the call that makes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import torch

from lamina.core.errors import LaminaError, ShapeError

if TYPE_CHECKING:
    from lamina.layers.layer import Layer

Shape = tuple[int | None, ...]
DataFormat = Literal["channels_first", "channels_last"]

TO_CHANNELS_FIRST = (0, 3, 1, 2)
TO_CHANNELS_LAST = (0, 2, 3, 1)
_SERIAL = itertools.count()


class SymbolError(LaminaError, AttributeError):
    """A torch function, method or attribute asked of a symbol. Also an AttributeError, so `hasattr` answers False."""


@dataclass(frozen=True)
class Ref:
    """The value of that position in a plan: first the inputs of the call, then the results of its operations."""

    position: int


@dataclass(frozen=True)
class Op:
    """One line of a plan: a module (by its sibling suffix) or a function, and its arguments, with `Ref` for values."""

    target: str | Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, values: list[Any]) -> tuple[Any, ...]:
        """The positional arguments, each `Ref` replaced by its value."""
        return tuple(_resolved(argument, values) for argument in self.args)


def _resolved(argument: Any, values: list[Any]) -> Any:
    if isinstance(argument, Ref):
        return values[argument.position]
    if isinstance(argument, list):
        return [_resolved(entry, values) for entry in argument]
    return argument


class Call:
    """One use of a layer: its input symbols, the plan, and how many values come out (None: one, not in a tuple)."""

    __slots__ = ("count", "inputs", "layer", "plan", "serial")

    def __init__(self, layer: Layer, inputs: tuple[Symbol, ...], plan: tuple[Op, ...], count: int | None) -> None:
        self.layer, self.inputs, self.plan, self.count = layer, inputs, plan, count
        self.serial = next(_SERIAL)


class Symbol:
    """A tensor to come, as `Input` and a called layer return it. `shape` is without the batch; None is an open size.

    Arithmetic (+ - * / and unary minus) with symbols and numbers works; everything else is refused with advice. Inside
    a built network images are always (C, H, W): `sizes` says that order, `shape` the order of the user's data format.
    """

    __slots__ = ("call", "data_format", "dtype", "index", "sizes")
    __array_ufunc__ = None  # numpy arrays leave the operators to us

    def __init__(
        self, call: Call, index: int | None, *, sizes: Shape, dtype: torch.dtype, data_format: DataFormat
    ) -> None:
        self.call, self.index, self.sizes, self.dtype, self.data_format = call, index, sizes, dtype, data_format

    @property
    def shape(self) -> Shape:
        """Sizes without the batch, in the user's data format."""
        return (*self.sizes[1:], self.sizes[0]) if self.permuted else self.sizes

    @property
    def name(self) -> str:
        """The name of the layer it comes from."""
        return self.call.layer.name or self.call.layer.stem

    @property
    def rank(self) -> int:
        """How many axes, the batch included."""
        return len(self.sizes) + 1

    @property
    def permuted(self) -> bool:
        """Whether the user's order of axes differs from the one inside the network."""
        return self.data_format == "channels_last" and len(self.sizes) == 3

    @property
    def channel_axis(self) -> int:
        """Where the channels are inside the network: axis 1 of images, the last axis of everything else."""
        return 1 if self.rank == 4 else self.rank - 1

    def axis(self, axis: int) -> int:
        """The axis inside the network (batch 0) of an axis that counts as the user does (batch 0, or from the end)."""
        if not -self.rank < axis < self.rank or axis == 0:
            raise ShapeError(
                f"Axis {axis} was asked of a tensor of shape {shown(self.shape)} (without the batch).",
                f"Axes count from 1 to {self.rank - 1} (0 is the batch), or from -1 to {1 - self.rank}.",
                "Give one of these axes.",
            )
        axis %= self.rank
        return TO_CHANNELS_LAST[axis] if self.permuted else axis

    def __repr__(self) -> str:
        kind = type(self.call.layer).__name__
        return f"<Symbol {shown(self.shape)} {str(self.dtype).removeprefix('torch.')} of {kind}>"

    def __add__(self, other: Any) -> Symbol:
        return _operate("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return _operate("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return _operate("subtract", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return _operate("subtract", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return _operate("multiply", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return _operate("multiply", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return _operate("divide", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return _operate("divide", other, self)

    def __neg__(self) -> Symbol:
        return _operate("negative", self, None)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> NoReturn:
        raise _refusal(f"torch's function {getattr(function, '__name__', str(function))!r}")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise _refusal(f"the attribute {name!r}")

    def __getitem__(self, key: Any) -> NoReturn:
        raise _refusal("an index")

    def __iter__(self) -> NoReturn:
        raise _refusal("a loop")

    def __len__(self) -> NoReturn:
        raise _refusal("its length")

    def __bool__(self) -> NoReturn:
        raise _refusal("its truth")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise _refusal("an array")


def _refusal(what: str) -> SymbolError:
    return SymbolError(
        f"A symbolic tensor was asked for {what}; it has no values, it only describes a network.",
        "Symbols take layers and the operators + - * / (a bare torch module would lose its weights or freeze its mode).",
        "Wrap a torch module as layers.Torch(module)(x); put a torch function into a small nn.Module and wrap that.",
    )


def _operate(kind: str, left: Any, right: Any) -> Symbol:
    from lamina.layers.merging import operate  # merging needs Symbol: the one cycle that operators on it bring

    return operate(kind, left, right)


def shown(shape: Shape) -> str:
    """A shape as people write it: (3, None, None), (784,)."""
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(str(size) for size in shape)})"
