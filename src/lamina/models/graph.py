"""The functional graph: from symbols to a plain torch network of straight-line code, to JSON and back."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from lamina.core.errors import LaminaError, UnknownNameError, unknown_name
from lamina.layers.inputs import InputLayer
from lamina.layers.layer import Layer
from lamina.layers.regularizers import Regularizer
from lamina.layers.symbol import TO_CHANNELS_FIRST, TO_CHANNELS_LAST, Call, DataFormat, Op, Ref, Shape, Symbol
from lamina.layers.torch_module import Torch
from lamina.models import cutting, naming
from lamina.nn import Permute

Cuts = tuple[str | None, ...]


class Graph:
    """Descriptions called on each other, and the network they build.

    net      fx.GraphModule of straight-line code (an nn.Sequential for a chain); keys are the names of the layers
    inputs   symbols in the order of the network's arguments
    outputs  symbols in the order of its results: a tensor for one, a tuple for several
    calls    every use of a layer, in the order they run
    """

    def __init__(self, inputs: Sequence[Symbol], outputs: Sequence[Symbol], *, chain: bool = False) -> None:
        self.inputs, self.outputs = _symbols(inputs, "inputs"), _symbols(outputs, "outputs")
        self.calls = _calls(self.inputs, self.outputs)
        self.names = naming.assign(dict.fromkeys(call.layer for call in self.calls))
        self.is_chain = chain and self._is_linear()
        self.net: nn.Module = self._sequential(self._steps()) if self.is_chain else self._traced({})
        self._as_layer: Nested | None = None

    @classmethod
    def from_symbols(cls, inputs: Symbol | Sequence[Symbol], outputs: Symbol | Sequence[Symbol]) -> Graph:
        """The graph between inputs and outputs; raises LaminaError naming an input that is missing or leads nowhere."""
        return cls(
            (inputs,) if isinstance(inputs, Symbol) else inputs, (outputs,) if isinstance(outputs, Symbol) else outputs
        )

    @classmethod
    def chain(cls, layers: Iterable[Any], first: Symbol) -> Graph:
        """Layers (also models, and torch modules) one after the other; an nn.Sequential where each is used once."""
        x: Any = first
        for layer in layers:
            x = (Torch(layer) if isinstance(layer, nn.Module) else layer)(x)
        return cls((first,), x if isinstance(x, tuple) else (x,), chain=True)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], modules: Mapping[str, nn.Module] | None = None) -> Graph:
        """The graph that `config` describes, with new initial values.

        `modules` holds custom torch modules by their layer's name or by the qualified name of their class. Raises
        FileFormatError for whatever `config()` cannot have written.
        """
        from lamina.models import description  # it makes graphs, and graphs are described by it

        return description.decode(config, modules or {})

    def config(self) -> dict[str, Any]:
        """The description as JSON-able values; see `from_config`."""
        from lamina.models import description

        return description.encode(self)

    @property
    def layers(self) -> list[Layer]:
        """The descriptions, each once, in the order they run."""
        return list(self.names)

    @property
    def input_names(self) -> list[str]:
        """The network's arguments."""
        return [self.names[x.call.layer] for x in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The layer each output comes from, numbered where one layer gives several."""
        names: list[str] = []
        for x in self.outputs:
            name, number = self.names[x.call.layer], 0
            while name in names:
                number += 1
                name = f"{self.names[x.call.layer]}_{number}"
            names.append(name)
        return names

    @property
    def input_shapes(self) -> list[Shape]:
        """Without the batch, in the user's data format."""
        return [x.shape for x in self.inputs]

    @property
    def output_shapes(self) -> list[Shape]:
        """Without the batch, in the user's data format."""
        return [x.shape for x in self.outputs]

    @property
    def penalties(self) -> list[tuple[str, Regularizer]]:
        """The parameters that are penalised, by their names in `net`, and the regularizers."""
        found: list[tuple[str, Regularizer]] = []
        for layer, name in self.names.items():
            if isinstance(layer, Nested):
                found += [(f"{name}.{key}", regularizer) for key, regularizer in layer.graph.penalties]
            found += [(name + key, regularizer) for key, regularizer in layer.penalties.items()]
        parameters = {name for name, _ in self.net.named_parameters(remove_duplicate=False)}
        return [(name, regularizer) for name, regularizer in found if name in parameters]

    def get_layer(self, name: str) -> Layer:
        """The description of that name."""
        for layer, known in self.names.items():
            if known == name:
                return layer
        error = unknown_name("layer", name, self.names.values())
        raise UnknownNameError(error.came, error.expected, "Use one of these; summary() lists them all.")

    def cut(self) -> tuple[nn.Module, Cuts]:
        """A view of the network that shares its modules and stops before a closing softmax or sigmoid, so that a loss
        can be computed from logits; and, per output, "softmax", "sigmoid", or None where nothing was cut."""
        found = [self._closing(x) for x in self.outputs]
        cuts: Cuts = tuple(None if closing is None else closing.activation for closing in found)
        if not any(cuts):
            return self.net, cuts
        if self.is_chain:
            steps = self._steps()
            last = max(place for place, (key, _) in enumerate(steps) if key != "channels_last")
            key, _ = steps.pop(last)
            rest = found[0].rest if found[0] is not None else None
            if rest is not None:
                steps.insert(last, (key, rest))
            return self._sequential(steps), cuts
        return self._traced({x.call: closing for x, closing in zip(self.outputs, found, strict=True) if closing}), cuts

    def apply(self, symbols: Sequence[Symbol], *, name: str = "model") -> Any:
        """The symbols of the outputs when this graph joins another as one layer; a second call shares its modules."""
        if len(symbols) != len(self.inputs):
            raise LaminaError(
                f"The model {name!r} was called on {len(symbols)} tensors.",
                f"It has {len(self.inputs)} inputs: {', '.join(self.input_names)}.",
                "Give one tensor for each, in this order.",
            )
        if self._as_layer is None:
            self._as_layer = Nested(self, name)
        return self._as_layer(symbols)

    # Building ---------------------------------------------------------------------------------------------------

    def _is_linear(self) -> bool:
        """Whether every call is modules in a row, on the result of the call before it, and no layer comes twice."""
        before: Call | None = None
        for call in self.calls:
            inputs = tuple(x.call for x in call.inputs)
            if inputs != (() if before is None else (before,)) or call.count is not None:
                return False
            if any(op.args != (Ref(place),) or not isinstance(op.target, str) for place, op in enumerate(call.plan)):
                return False
            before = call
        modules = [module for layer in self.names for module in layer.modules.values()]
        once = len({id(module) for module in modules}) == len(modules) and len(self.names) == len(self.calls)
        return once and len(self.inputs) == len(self.outputs) == 1

    def _steps(self) -> list[tuple[str, nn.Module]]:
        """Keys and modules of a chain; layouts are changed at its ends only."""
        steps: list[tuple[str, nn.Module]] = []
        if self.inputs[0].permuted:
            steps.append(("channels_first", Permute(TO_CHANNELS_FIRST)))
        for layer, name in self.names.items():
            steps += [(name + suffix, module) for suffix, module in layer.modules.items()]
        if self.outputs[0].permuted:
            steps.append(("channels_last", Permute(TO_CHANNELS_LAST)))
        return steps

    def _sequential(self, steps: list[tuple[str, nn.Module]]) -> nn.Sequential:
        return nn.Sequential(OrderedDict(steps))

    def _traced(self, closings: Mapping[Call, cutting.Closing]) -> fx.GraphModule:
        """The network as straight-line code, without the closing activations of the calls in `closings`."""
        used = {x.call for call in self.calls for x in call.inputs}
        used |= {x.call for x in self.outputs if x.call not in closings}
        code, modules = fx.Graph(), dict[str, nn.Module]()
        results: dict[Call, list[Any]] = {}
        for symbol, name in zip(self.inputs, self.input_names, strict=True):
            results[symbol.call] = [code.placeholder(name)]
        for symbol in self.inputs:
            if symbol.permuted:
                results[symbol.call].append(code.call_method("permute", (results[symbol.call][0], *TO_CHANNELS_FIRST)))
        parts: dict[tuple[Call, int], Any] = {}

        def value(x: Symbol) -> Any:
            if x.index is None:
                return results[x.call][-1]
            if (x.call, x.index) not in parts:
                parts[x.call, x.index] = code.call_function(operator.getitem, (results[x.call][-1], x.index))
            return parts[x.call, x.index]

        for call in self.calls:
            if call in results:
                continue
            values = [value(x) for x in call.inputs]
            closing = closings.get(call)
            for place, op in enumerate(call.plan):
                last = place == len(call.plan) - 1
                if closing is not None and last and closing.rest is None and call not in used:
                    continue
                if not isinstance(op.target, str):
                    values.append(code.call_function(op.target, op.arguments(values), dict(op.kwargs)))
                    continue
                key = self.names[call.layer] + op.target
                modules[key] = call.layer.modules[op.target]
                if closing is not None and last and closing.rest is not None:
                    modules[key] = closing.rest
                values.append(code.call_module(key, op.arguments(values)))
            results[call] = values
        outputs = []
        for x in self.outputs:
            closing = closings.get(x.call)
            dropped = closing is not None and closing.rest is None and x.call in used
            result = results[x.call][-2] if dropped else value(x)
            outputs.append(code.call_method("permute", (result, *TO_CHANNELS_LAST)) if x.permuted else result)
        code.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        code.lint()
        return fx.GraphModule(modules, code)

    def _closing(self, x: Symbol) -> cutting.Closing | None:
        """The softmax or sigmoid that an output ends in, if it can be left out."""
        op = x.call.plan[-1] if x.call.plan else None
        if op is None or not isinstance(op.target, str) or x.index is not None:
            return None
        layer = x.call.layer
        nested = layer.graph if isinstance(layer, Nested) and len(layer.graph.outputs) == 1 else None
        if nested is not None:
            view, (activation,) = nested.cut()
            found = None if activation is None else cutting.Closing(activation, view)
        else:
            found = cutting.closing(layer.modules[op.target], rank=x.rank)
        shared = sum(call.layer is layer for call in self.calls) > 1 or any(
            y.call is x.call for call in self.calls for y in call.inputs
        )
        # the inside of a shared module cannot be replaced for one of its uses only
        return None if found is not None and found.rest is not None and shared else found


@dataclass(frozen=True, eq=False, repr=False)
class Nested(Layer):
    """A graph as one layer of another."""

    graph: Graph
    kind: str = "model"

    @property
    def stem(self) -> str:
        return self.kind

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        for x, wanted in zip(inputs, self.graph.inputs, strict=True):
            if len(x.shape) != len(wanted.shape) or any(
                None not in (size, other) and size != other for size, other in zip(x.shape, wanted.shape, strict=True)
            ):
                raise self.expects(x, f"It was made for shape {wanted.shape}.", "Bring the tensor to that shape first.")
        return {"": self.graph.net}

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        """The nested network sees the user's layout on both sides; inside a network it is always channels first."""
        ops: list[Op] = []
        refs = [Ref(position) for position in range(len(inputs))]
        for position, x in enumerate(inputs):
            if x.permuted:
                ops.append(Op(torch.permute, (refs[position], list(TO_CHANNELS_LAST))))
                refs[position] = Ref(len(inputs) + len(ops) - 1)
        ops.append(Op("", tuple(refs)))
        results = self.graph.outputs
        if len(results) == 1 and results[0].permuted:
            ops.append(Op(torch.permute, (Ref(len(inputs) + len(ops) - 1), list(TO_CHANNELS_FIRST))))
        elif any(x.permuted for x in results):
            raise LaminaError(
                f"{self.label(inputs)} has several outputs, and channels-last images among them.",
                "A model used as a layer returns one channels-last image, or channels-first ones.",
                'Make its inputs with data_format="channels_first", or split it into one model per output.',
            )
        return tuple(ops)

    def formats(self, *_: Any) -> tuple[DataFormat, ...]:
        return tuple(x.data_format for x in self.graph.outputs)


def apply(model: Any, symbols: Sequence[Symbol]) -> Any:
    """The symbols of a model's outputs when it joins a graph as one layer under its name; needs .graph and .name."""
    graph: Graph = model.graph
    return graph.apply(symbols, name=model.name)


def cut(net: nn.Module) -> tuple[nn.Module, Cuts]:
    """`Graph.cut` for a torch module: an nn.Sequential that ends in nn.Softmax or nn.Sigmoid is cut, others are not."""
    found = cutting.closing(net)
    return (net, (None,)) if found is None or found.rest is None else (found.rest, (found.activation,))


def _symbols(values: Sequence[Symbol], what: str) -> tuple[Symbol, ...]:
    strangers = [value for value in values if not isinstance(value, Symbol)]
    if strangers or not values:
        raise LaminaError(
            f"The {what} of a model are {type(strangers[0]).__name__ if strangers else 'an empty list'}.",
            "Symbolic tensors are expected: what layers.Input or a called layer returned.",
            "Write for example models.Model(inputs=x, outputs=layers.Dense(10)(x)).",
        )
    symbols = tuple(values)
    if what == "inputs":
        for x in symbols:
            if not isinstance(x.call.layer, InputLayer):
                raise LaminaError(
                    f"An input of the model is the result of {x.call.layer!r}.",
                    "A network begins at what layers.Input returned.",
                    "Make a layers.Input of that shape and call the layers after it on that.",
                )
        if len(set(symbols)) < len(symbols):
            raise LaminaError("An input is given twice.", "Each input is one argument.", "Name it once.")
    return symbols


def _calls(inputs: tuple[Symbol, ...], outputs: tuple[Symbol, ...]) -> list[Call]:
    """Every call between inputs and outputs in the order they were made, which is an order they can run in."""
    found: set[Call] = set()
    waiting = [x.call for x in outputs]
    while waiting:
        call = waiting.pop()
        if call not in found:
            found.add(call)
            waiting += [x.call for x in call.inputs]
    begins = {x.call for x in inputs}
    for call in sorted(found, key=lambda call: call.serial):
        if isinstance(call.layer, InputLayer) and call not in begins:
            raise LaminaError(
                f"The outputs depend on the input {_described(call)}, which is not among the model's inputs.",
                f"The inputs are {', '.join(_described(x.call) for x in inputs)}.",
                "Add it to inputs.",
            )
    for x in inputs:
        if x.call not in found:
            raise LaminaError(
                f"No output depends on the input {_described(x.call)}.",
                "Every input leads to an output.",
                "Take it out of inputs, or connect it.",
            )
    return sorted(found, key=lambda call: call.serial)


def _described(call: Call) -> str:
    return repr(call.layer.name) if call.layer.name is not None else repr(call.layer)
