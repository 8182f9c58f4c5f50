"""Several tensors become one: merge layers and the operators between symbols. They build no modules, only torch calls."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lamina.core.errors import LaminaError, ShapeError
from lamina.layers.layer import Layer
from lamina.layers.symbol import TO_CHANNELS_FIRST, Op, Ref, Shape, Symbol, shown

OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "negative": operator.neg,
}


class _Merge(Layer):
    """Entry by entry over two or more tensors, sizes of 1 stretched; a tensor of fewer axes gets them after the batch."""

    most = 1_000_000

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        if not 2 <= len(inputs) <= self.most:
            raise LaminaError(
                f"{self.label(inputs)} was called on {len(inputs)} tensor{'s' if len(inputs) > 1 else ''}.",
                "It joins exactly two." if self.most == 2 else "It joins two or more, given as a list.",
                f"Call it as layers.{type(self).__name__}()([a, b]).",
            )
        rank = max(x.rank for x in inputs)
        shapes = [(1,) * (rank - x.rank) + x.shape for x in inputs]
        for sizes in zip(*shapes, strict=True):
            if len({size for size in sizes if size is not None and size != 1}) > 1:
                raise _mismatch(self, inputs)
        return {}

    def probed(self, inputs: tuple[Symbol, ...]) -> list[Shape]:
        return agreed(inputs)

    def aligned(self, inputs: tuple[Symbol, ...]) -> tuple[list[Op], list[Ref]]:
        """The operations that give all inputs the same number of axes, and the inputs after them."""
        ops: list[Op] = []
        refs = [Ref(position) for position in range(len(inputs))]
        rank = max(x.rank for x in inputs)
        reorder = rank == 4 and any(x.data_format == "channels_last" for x in inputs)
        for position, x in enumerate(inputs):
            for _ in range(rank - x.rank):
                ops.append(Op(torch.unsqueeze, (refs[position], 1)))
                refs[position] = Ref(len(inputs) + len(ops) - 1)
            if reorder and x.rank < rank:
                ops.append(Op(torch.permute, (refs[position], list(TO_CHANNELS_FIRST))))
                refs[position] = Ref(len(inputs) + len(ops) - 1)
        return ops, refs

    def folded(self, function: Callable[..., Any], inputs: tuple[Symbol, ...]) -> tuple[Op, ...]:
        """function(function(a, b), c) ..."""
        ops, refs = self.aligned(inputs)
        result = refs[0]
        for other in refs[1:]:
            ops.append(Op(function, (result, other)))
            result = Ref(len(inputs) + len(ops) - 1)
        return tuple(ops)


@dataclass(frozen=True, eq=False, repr=False)
class Add(_Merge):
    """The sum of two or more tensors."""

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        return self.folded(operator.add, inputs)


@dataclass(frozen=True, eq=False, repr=False)
class Subtract(_Merge):
    """The first tensor minus the second."""

    most = 2

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        return self.folded(operator.sub, inputs)


@dataclass(frozen=True, eq=False, repr=False)
class Multiply(_Merge):
    """The product, entry by entry, of two or more tensors."""

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        return self.folded(operator.mul, inputs)


@dataclass(frozen=True, eq=False, repr=False)
class Average(_Merge):
    """The mean, entry by entry, of two or more tensors."""

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        ops = self.folded(operator.add, inputs)
        return (*ops, Op(operator.truediv, (Ref(len(inputs) + len(ops) - 1), len(inputs))))


@dataclass(frozen=True, eq=False, repr=False)
class Maximum(_Merge):
    """The largest, entry by entry, of two or more tensors."""

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        return self.folded(torch.maximum, inputs)


@dataclass(frozen=True, eq=False, repr=False)
class Concatenate(Layer):
    """Tensors one after the other along `axis`; by default the channels (the last axis of what is no image)."""

    axis: int | None = None

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        if len(inputs) < 2:
            raise LaminaError(
                f"{self.label(inputs)} was called on one tensor.",
                "It joins two or more, given as a list.",
                "Call it as layers.Concatenate()([a, b]).",
            )
        axis = self._axis(inputs[0])
        ranks = {x.rank for x in inputs}
        others = [[size for at, size in enumerate(x.sizes, start=1) if at != axis] for x in inputs]
        if len(ranks) > 1 or any(
            len({size for size in sizes if size is not None}) > 1 for sizes in zip(*others, strict=True)
        ):
            raise _mismatch(self, inputs)
        return {}

    def probed(self, inputs: tuple[Symbol, ...]) -> list[Shape]:
        return agreed(inputs, besides=self._axis(inputs[0]))

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        values = [Ref(position) for position in range(len(inputs))]
        return (Op(torch.cat, (values,), {"dim": self._axis(inputs[0])}),)

    def _axis(self, x: Symbol) -> int:
        return x.channel_axis if self.axis is None else x.axis(self.axis)


@dataclass(frozen=True, eq=False, repr=False)
class Operator(_Merge):
    """What + - * / and unary minus between symbols and numbers leave in the graph."""

    kind: str
    constant: float | None = None
    constant_first: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in OPERATORS:
            raise LaminaError(
                f"There is no operator {self.kind!r}.",
                f"One of {', '.join(OPERATORS)} is expected.",
                "Use one of these.",
            )

    @property
    def stem(self) -> str:
        return self.kind

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        wanted = 1 if self.constant is not None or self.kind == "negative" else 2
        if len(inputs) != wanted:
            raise LaminaError(
                f"The operator {self.kind!r} was called on {len(inputs)} tensors.",
                f"It takes {wanted}.",
                "Write it with + - * / between the tensors.",
            )
        if len({x.rank for x in inputs}) > 1:
            raise _mismatch(self, inputs)
        return super().build(*inputs) if wanted == 2 else {}

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        values: list[Any] = [Ref(position) for position in range(len(inputs))]
        if self.constant is not None:
            values.insert(0 if self.constant_first else 1, self.constant)
        return (Op(OPERATORS[self.kind], tuple(values)),)


def agreed(inputs: tuple[Symbol, ...], *, besides: int | None = None) -> list[Shape]:
    """The sizes of the inputs, an open one taking the known size that another input has on that axis."""
    if len({x.rank for x in inputs}) > 1:
        return [x.sizes for x in inputs]
    columns = []
    for axis, sizes in enumerate(zip(*(x.sizes for x in inputs), strict=True), start=1):
        known = next((size for size in sizes if size not in (None, 1)), None)
        columns.append(tuple(known if size is None and axis != besides else size for size in sizes))
    return [tuple(sizes) for sizes in zip(*columns, strict=True)]


def operate(kind: str, left: Any, right: Any) -> Symbol:
    """The symbol of `left` operator `right`, of which at least one is a symbol and the other may be a number."""
    symbols = [x for x in (left, right) if isinstance(x, Symbol)]
    numbers = [x for x in (left, right) if not isinstance(x, Symbol) and x is not None]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise LaminaError(
                f"A symbolic tensor met {type(number).__name__} in an operation.",
                "Operators join symbols with symbols and plain numbers.",
                "Put a constant tensor into a small nn.Module, as a buffer, and wrap it as layers.Torch(module)(x).",
            )
    constant = numbers[0] if numbers else None
    result: Symbol = Operator(kind, constant, constant is not None and left is constant)(symbols)
    return result


def _mismatch(layer: Layer, inputs: tuple[Symbol, ...]) -> ShapeError:
    came = " and ".join(shown(x.shape) for x in inputs)
    return ShapeError(
        f"{layer.label(inputs)} was called on shapes {came} (without the batch).",
        "Shapes must be equal, except along the joined axis, and where one of them is 1."
        if not isinstance(layer, Concatenate)
        else "Shapes must be equal in all axes but the one they are joined along.",
        "Bring them to one shape first, with layers.Reshape, a stride, or a 1x1 layers.Conv2D.",
    )
