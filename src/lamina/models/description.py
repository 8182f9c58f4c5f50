"""Graphs to JSON and back: layers from the literal table, calls by name; reading one runs nobody's code.

chain    whether the network is an nn.Sequential
layers   one entry per description, with its name; one that another graph of the same model has too tells where: "Shared", and
         the names that lead there
calls    in the order they run: the name of the layer, and [call, place in its tuple or null] for each input
inputs   calls of the inputs
outputs  [call, place or null] of the outputs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lamina.core.errors import FileFormatError
from lamina.layers import table
from lamina.layers.inputs import InputLayer
from lamina.layers.layer import Layer
from lamina.layers.symbol import Symbol
from lamina.models.graph import Graph, Nested

_Path = tuple[str, ...]  # names, from the outermost graph to a layer


def encode(graph: Graph) -> dict[str, Any]:
    """The graph as JSON-able values."""
    return _encoded(graph, (), {})


def _encoded(graph: Graph, path: _Path, seen: dict[Layer, _Path]) -> dict[str, Any]:
    place = {call: position for position, call in enumerate(graph.calls)}

    def where(x: Symbol) -> list[int | None]:
        return [place[x.call], x.index]

    return {
        "chain": graph.is_chain,
        "layers": [_entry(layer, (*path, name), seen) for layer, name in graph.names.items()],
        "calls": [[graph.names[call.layer], [where(x) for x in call.inputs]] for call in graph.calls],
        "inputs": [place[x.call] for x in graph.inputs],
        "outputs": [where(x) for x in graph.outputs],
    }


def decode(config: Any, modules: Mapping[str, nn.Module]) -> Graph:
    """The graph of such values. Raises FileFormatError for whatever `encode` does not write."""
    return _decoded(config, modules, (), {})


def _decoded(config: Any, modules: Mapping[str, nn.Module], path: _Path, seen: dict[_Path, Layer]) -> Graph:
    if not isinstance(config, Mapping) or set(config) != {"chain", "layers", "calls", "inputs", "outputs"}:
        raise table.malformed("a graph with other parts than layers, calls, inputs and outputs")
    try:
        known = {entry["name"]: _layer(entry, modules, path, seen) for entry in config["layers"]}
        results: list[Any] = []

        def value(where: Any) -> Symbol:
            call, index = where
            if not isinstance(call, int) or not 0 <= call < len(results):
                raise table.malformed(f"a reference to call {call!r}")
            found = results[call] if index is None else results[call][index]
            if not isinstance(found, Symbol):
                raise table.malformed(f"a reference to a part of call {call} that is not there")
            return found

        for name, arguments in config["calls"]:
            layer = known[name]
            symbols = [value(where) for where in arguments]
            results.append(_called(layer, symbols))
        inputs = [value((call, None)) for call in config["inputs"]]
        for name, layer in known.items():
            layer.rename(name)
        return Graph(inputs, [value(where) for where in config["outputs"]], chain=bool(config["chain"]))
    except FileFormatError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise table.malformed(f"a graph that cannot be built ({error})") from error


def _called(layer: Layer, symbols: list[Symbol]) -> Any:
    if isinstance(layer, InputLayer):
        return layer.symbol()
    return layer(symbols)


def _entry(layer: Layer, path: _Path, seen: dict[Layer, _Path]) -> dict[str, Any]:
    if layer in seen and not isinstance(layer, InputLayer):  # which has no weights
        return {"layer": "Shared", "name": path[-1], "path": list(seen[layer])}
    seen[layer] = path
    if isinstance(layer, Nested):
        return {"layer": "Model", "name": path[-1], "graph": _encoded(layer.graph, path, seen)}
    return {**layer.config(), "name": path[-1]}


def _layer(entry: Any, modules: Mapping[str, nn.Module], path: _Path, seen: dict[_Path, Layer]) -> Layer:
    kind = entry.get("layer") if isinstance(entry, dict) else None
    parts = {"Model": {"layer", "name", "graph"}, "Shared": {"layer", "name", "path"}}.get(kind or "")
    if parts is None:
        layer = table.decode(entry, modules)
    elif set(entry) != parts or not isinstance(entry["name"], str):
        raise table.malformed(f"a nested model or a shared layer with {sorted(entry)}")
    elif kind == "Model":
        layer = Nested(_decoded(entry["graph"], modules, (*path, entry["name"]), seen), name=entry["name"])
    else:
        layer = seen[tuple(entry["path"])]
    return seen.setdefault((*path, entry["name"]), layer)
