"""What `compile` was told, made into losses, weights and metrics for each output of a network."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina import losses, metrics, optimizers
from lamina.core.errors import FileFormatError, LaminaError, ShapeError
from lamina.core.warnings import warn
from lamina.models.graph import Graph, cut
from lamina.training import Runtime, SupervisedStep, Target, Update
from lamina.training.world import is_spread

OUTPUT = "output"  # what the only output of a plain torch module is called


def make_step(
    net: nn.Module,
    graph: Graph | None,
    told: Mapping[str, Any],
    *,
    runtime: Runtime,
    prepare: Callable[[Tensor], Tensor],
) -> SupervisedStep:
    """The step that trains a network as `compile` was told; places the network on the runtime's device."""
    view, cuts = graph.cut() if graph is not None else cut(net)
    names = graph.output_names if graph is not None else ()
    if graph is not None:
        _refuse_channels_last_classes(graph, told["loss"])
    goals = targets(told["loss"], told["metrics"], loss_weights=told["loss_weights"], cuts=cuts, output_names=names)
    if runtime.shards and view is not net:
        raise LaminaError(
            "The network ends in a softmax or sigmoid, and is to be spread over the processes.",
            "Training cuts that activation off, and a sharded network is used as a whole.",
            "Let it end in logits, which the cross-entropies take as well.",
        )
    runtime.place(net)
    runtime.compile(view)
    trainable = any(parameter.requires_grad for parameter in net.parameters())
    schedule = optimizers.schedules.get(told["schedule"])
    update = Update(net, told["optimizer"], runtime=runtime, schedule=schedule, **told["update"]) if trainable else None
    penalties = None if graph is None else _penalties(net, graph)
    return SupervisedStep(net, update, targets=goals, runtime=runtime, view=view, prepare=prepare, penalties=penalties)


def _refuse_channels_last_classes(graph: Graph, loss: Any) -> None:
    """Pixels that are classified have their classes in axis 1; a channels-last output has them in the last."""
    for symbol, name, spec in zip(
        graph.outputs, graph.output_names, _each(loss, graph.output_names, "loss"), strict=True
    ):
        if symbol.permuted and losses.get(spec).activation is not None:
            raise ShapeError(
                f"The output {name!r} is a channels-last image of shape {symbol.shape}, and its loss is {spec!r}.",
                "A loss of classes takes images with the classes in axis 1.",
                'Describe the input as (C, H, W), without data_format="channels_last".',
            )


def is_outdated(step: SupervisedStep, net: nn.Module) -> bool:
    """Whether layers were frozen or unfrozen since the step's optimizer was made."""
    if is_spread(net):  # its parameters are other objects while they are whole
        return False
    trained = {id(parameter) for update in step.updates.values() for parameter in update.parameters}
    return trained != {id(parameter) for parameter in net.parameters() if parameter.requires_grad}


def update_of(step: SupervisedStep) -> Update:
    """The update of a step that has something to train."""
    if not step.updates:
        raise LaminaError(
            "The network has no trainable parameters.", "fit changes parameters.", "Unfreeze a layer of model.net."
        )
    return step.updates["net"]


def check_names(told: Mapping[str, Any]) -> None:
    """Raises where there is no loss, or an optimizer or loss that nobody knows; also before the network is built."""
    loss = told["loss"]
    if loss is None:
        raise LaminaError(
            "compile came without a loss.",
            "Training minimises one.",
            'Pass for example loss="sparse_categorical_crossentropy" for integer labels.',
        )
    optimizers.get(told["optimizer"])
    optimizers.schedules.get(told["schedule"])
    for spec in _named(told["metrics"]):
        metrics.get(spec)
    for spec in loss.values() if isinstance(loss, Mapping) else loss if isinstance(loss, list | tuple) else [loss]:
        losses.get(spec)


def config(name: str, told: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's config.yaml says: the model, what it was compiled with, and the settings of `fit`."""
    metric_names = _named(told.get("metrics")) or [str(told.get("metrics"))]
    keys = ("optimizer", "loss", "schedule", "update")
    compiled = {key: str(told[key]) for key in keys if told.get(key) not in (None, {})}
    return {"model": name, **compiled, "metrics": metric_names, **settings}


def _named(metric: Any) -> list[str]:
    """The metrics that were given by name, at any depth."""
    if isinstance(metric, str):
        return [metric]
    entries = metric.values() if isinstance(metric, Mapping) else metric if isinstance(metric, list | tuple) else ()
    return [name for entry in entries for name in _named(entry)]


def tell(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was compiled as JSON-able values; None where it holds something that only its author's code can make."""
    keys = ("optimizer", "loss", "metrics", "loss_weights")
    try:
        return {key: _encoded(_metric_objects(told.get(key)) if key == "metrics" else told.get(key)) for key in keys}
    except _Untellable as error:
        own = error.args[0]
        if not getattr(own, "__module__", "").startswith("lamina."):  # the tuner's losses are told by its config
            warn(
                f"What the model was compiled with is left out of the file, which cannot tell a {type(own).__name__}. "
                "Compile the loaded model again.",
            )
        return None


def recall(described: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `compile` that `tell` told. Raises FileFormatError for a kind outside the literal tables."""
    return {key: _decoded(value) for key, value in described.items()}


def _encoded(spec: Any) -> Any:
    if spec is None or isinstance(spec, str | int | float):
        return spec
    if isinstance(spec, Mapping):
        return {"entries": {str(name): _encoded(entry) for name, entry in spec.items()}}
    if isinstance(spec, list | tuple):
        return [told for entry in spec if (told := _encoded(entry)) is not None]
    if isinstance(spec, metrics.Metric):
        return _encoded_metric(spec)
    if type(spec) in _KINDS.values() and dataclasses.is_dataclass(spec):
        fields = {field.metadata.get("argument", field.name): field for field in dataclasses.fields(spec)}
        told = {argument: field.name for argument, field in fields.items() if field.init or argument != field.name}
        return {"kind": type(spec).__name__, "arguments": {key: _encoded(getattr(spec, told[key])) for key in told}}
    raise _Untellable(spec)


class _Untellable(Exception):  # noqa: N818
    """Something of somebody's own, which only its author's code can make."""


def _metric_objects(spec: Any) -> Any:
    """What `compile` takes for metrics, with an object for each class and function."""
    if isinstance(spec, Mapping):
        return {name: _metric_objects(entry) for name, entry in spec.items()}
    if isinstance(spec, list | tuple):
        return [_metric_objects(entry) for entry in spec]
    return metrics.get(spec) if callable(spec) and not isinstance(spec, metrics.Metric) else spec


def _encoded_metric(metric: metrics.Metric) -> Any:
    """Its name where that alone makes it again, else its kind and arguments; None, with a warning, for somebody's own."""
    kind, named = type(metric), metrics.METRICS.get(metric.name)
    if _METRICS.get(kind.__name__) is not kind:
        warn(
            f"The metric {metric.name!r} is an object that a model file cannot tell. It is left out of the file. "
            "Compile the loaded model with it again.",
        )
        return None
    arguments = _arguments(metric)
    if named is not None and type(alike := named(name=metric.name)) is kind and _arguments(alike) == arguments:
        return metric.name
    return {"metric": kind.__name__, "arguments": arguments}


def _arguments(metric: metrics.Metric) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in inspect.signature(type(metric)).parameters}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(entry) for entry in value]
    if not isinstance(value, Mapping):
        return value
    if "entries" in value:
        return {name: _decoded(entry) for name, entry in value["entries"].items()}
    known, asked = (_METRICS, value["metric"]) if "metric" in value else (_KINDS, value.get("kind"))
    if asked not in known:
        raise FileFormatError(
            f"The file asks for {asked!r} in what was compiled.",
            f"Known are {', '.join(known)}.",
            "Do not trust this file, or update lamina.",
        )
    return known[asked](**{name: _decoded(argument) for name, argument in value["arguments"].items()})


# What a model file may ask for: settings, whose arguments are numbers and names. A loss and a metric may have the same name.
_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in [*losses.LOSSES.values(), *optimizers.OPTIMIZERS.values()] if isinstance(kind, type)
}
_METRICS: dict[str, Any] = {kind.__name__: kind for kind in metrics.METRICS.values() if isinstance(kind, type)}


def cast_for(net: nn.Module, graph: Graph | None) -> Callable[[Tensor], Tensor]:
    """The cast of inputs to what a network takes: float32, but for networks that look integers up."""
    wanted = {torch.float32} if graph is None else {symbol.dtype for symbol in graph.inputs}
    looks_up = any(isinstance(module, nn.Embedding) for module in net.modules())
    return _cast_images if looks_up or wanted != {torch.float32} else _cast


def _cast(value: Tensor) -> Tensor:
    return value if value.dtype is torch.float32 else value.to(torch.float32)


def _cast_images(value: Tensor) -> Tensor:
    return value.to(torch.float32) if value.dtype == torch.uint8 else value


def _penalties(net: nn.Module, graph: Graph) -> Callable[[], Tensor] | None:
    parameters = dict(net.named_parameters())
    pairs = [(parameters[name], regularizer) for name, regularizer in graph.penalties]
    return (lambda: torch.stack([penalty(parameter) for parameter, penalty in pairs]).sum()) if pairs else None


def targets(
    loss: Any,
    metric: Any = None,
    *,
    loss_weights: Any = None,
    cuts: Sequence[str | None],
    output_names: Sequence[str] = (),
) -> list[Target]:
    """One Target for each output. `cuts` tells, for each output, the closing activation that the training view leaves out.

    `loss` and `loss_weights` are single, or a list or dict with one entry for each output. `metric` is a list for all
    outputs, or a dict or list of lists with the metrics of each.
    """
    names = list(output_names) or ([OUTPUT] if len(cuts) == 1 else [f"{OUTPUT}_{i}" for i in range(len(cuts))])
    chosen = [losses.get(spec) for spec in _each(loss, names, "loss")]
    weights = _each(1.0 if loss_weights is None else loss_weights, names, "loss_weights")
    result = []
    for name, kind, weight, specs, closing in zip(names, chosen, weights, _metrics(metric, names), cuts, strict=True):
        made = [metrics.get(spec, kind) for spec in specs]
        result.append(Target(kind, metrics=made, weight=float(weight), cut=closing, name=name))
    return result


def _each(value: Any, names: list[str], argument: str) -> list[Any]:
    """One entry for each output; a single value serves all."""
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise LaminaError(
                f"{argument} is a dict with the keys {sorted(value)}.",
                f"The outputs are {names}.",
                "Use exactly these names.",
            )
        return [value[name] for name in names]
    if isinstance(value, list | tuple):
        if len(value) != len(names):
            raise LaminaError(
                f"{argument} has {len(value)} entries.",
                f"The network has {len(names)} outputs: {', '.join(names)}.",
                "Give one entry for each output, in this order.",
            )
        return list(value)
    return [value] * len(names)


def _metrics(value: Any, names: list[str]) -> list[list[Any]]:
    if value is None:
        return [[] for _ in names]
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - set(names))
        if unknown:
            raise LaminaError(f"metrics names {unknown}.", f"The outputs are {names}.", "Use these names as keys.")
        return [_listed(value.get(name, [])) for name in names]
    if isinstance(value, list | tuple):
        if value and all(isinstance(entry, list | tuple) for entry in value):
            return [_listed(entry) for entry in _each(list(value), names, "metrics")]
        return [list(value) for _ in names]
    return [[value] for _ in names]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
