"""The network that a model holds, to be looked at: its module, its layers, its table, its drawing, its description."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Self

from torch import nn

from lamina.core.errors import LaminaError
from lamina.models import file
from lamina.models.drawing import Drawing, draw
from lamina.models.graph import Graph
from lamina.models.summary import Summary, summarize

# What Keras's models have and these have not: what is expected here, and what to call.
_KERAS_HABITS = {
    "save_weights": "Weights are kept together with what they belong to, in one file. Use model.save(path), or for the "
    "weights alone torch.save(model.net.state_dict(), path).",
    "load_weights": "One file holds a whole model. Use lamina.load(path), or for weights alone "
    "model.net.load_state_dict(torch.load(path)).",
    "get_weights": "Weights have names. Use model.net.state_dict().",
    "set_weights": "Weights have names. Use model.net.load_state_dict(weights).",
    "weights": "Weights have names. Use model.net.state_dict().",
    "trainable_weights": "A weight is trained where its requires_grad is set. Use model.net.named_parameters().",
    "trainable_variables": "A weight is trained where its requires_grad is set. Use model.net.named_parameters().",
    "trainable": "Parameters are frozen in the torch module. Use model.net.requires_grad_(False).",
    "train_on_batch": "A batch at a time is what a step does. Use model.fit(x, y, batch_size=len(x)), or write a step "
    "and run it with training.Loop.",
    "test_on_batch": "Measuring takes any number of samples. Use model.evaluate(x, y).",
    "predict_on_batch": "Predicting takes any number of samples. Use model.predict(x).",
    "predict_classes": "Outputs are those of the network. Use model.predict(x).argmax(-1).",
    "predict_proba": "Outputs are those of the network. Use model.predict(x).",
    "fit_generator": "fit takes any iterable of batches. Use model.fit(batches).",
    "evaluate_generator": "evaluate takes any iterable of batches. Use model.evaluate(batches).",
    "get_config": "A model of layers tells its layers as JSON. Use model.to_json().",
    "metrics_names": "evaluate gives a dict. Use list(model.evaluate(x, y)).",
}


class Holder:
    """Holds a plain torch module as `net`, and the graph of layers that it was made of, where there is one."""

    _is_shared = True  # whether anybody outside may hold the network, or its weights, and change them unseen

    def __init__(self, name: str) -> None:
        self.name = name
        self.graph: Graph | None = None
        self._net: nn.Module | None = None

    def _adopt(self, graph: Graph) -> None:
        self.graph, self._net = graph, graph.net
        self._is_shared = True  # layers hold their modules

    @property
    def net(self) -> nn.Module:
        """The plain torch module."""
        self._is_shared = True
        return self._own_net

    @property
    def _own_net(self) -> nn.Module:
        """The same for methods that hand it to nobody."""
        if self._net is None:
            raise LaminaError(
                "This model is not built yet.",
                "A Sequential without input_shape is built at its first call, when it sees the shape of the data.",
                "Give the first layer input_shape=..., or call fit first.",
            )
        return self._net

    def __copy__(self) -> Self:
        self._is_shared = True  # by the copy, which holds the same network
        made = type(self).__new__(type(self))
        vars(made).update(vars(self))
        return made

    def __getattr__(self, name: str) -> Any:
        if name in _KERAS_HABITS:
            raise AttributeError(f"A {type(self).__name__} has no {name!r}. {_KERAS_HABITS[name]}")
        if not name.startswith("_") and hasattr(nn.Module, name):
            raise AttributeError(
                f"A {type(self).__name__} has no {name!r}: it is not a torch module. Its network is: use model.net.{name}."
            )
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __repr__(self) -> str:
        if self._net is None:
            return f"<{type(self).__name__} {self.name!r}, not built yet>"
        return f"<{type(self).__name__} {self.name!r}, {self.count_params():,} parameters>"

    @property
    def layers(self) -> list[Any]:
        """The layer descriptions in the order of the graph; for a torch module, its children."""
        return list(self.graph.layers) if self.graph is not None else list(self.net.children())

    def count_params(self) -> int:
        """The number of parameters, as `summary` counts them. (Keras adds the moving statistics of BatchNormalization.)"""
        return sum(parameter.numel() for parameter in self._own_net.parameters())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of that name, or at that place."""
        if name is None:
            return self.layers[index or 0]
        if self.graph is not None:
            return self.graph.get_layer(name)
        return self.net.get_submodule(name)

    def summary(self, input_shape: Sequence[int] | None = None, *, show: bool = True) -> Summary:
        """The layers with shapes, parameters, multiply-adds and receptive fields: printed where `show`, and returned.

        Where the result is displayed by itself (a notebook, a prompt) it is not printed too. A torch module does not know
        its input: pass `input_shape`, without the batch.
        """
        net = self._own_net
        shapes = [input_shape] if input_shape is not None else [] if self.graph is None else self.graph.input_shapes
        if not shapes:
            raise LaminaError(
                "summary of a torch module came without an input shape.",
                "Its shapes cannot be known otherwise.",
                "Call summary(input_shape=(1, 28, 28)).",
            )
        table = summarize(net, shapes, graph=self.graph)
        if show and not hasattr(sys, "ps1"):
            print(table)
        return table

    def to_json(self) -> str:
        """The layers and how they are connected, without weights; `models.model_from_json` makes them again."""
        if self.graph is None:
            raise LaminaError(
                "This model wraps a torch module.", "Layers can be told as JSON.", "Describe it with lamina.layers."
            )
        return json.dumps(self.graph.config())

    def draw(self) -> Drawing:
        """The graph of the layers as a picture: `.svg` is its text, and a notebook shows it."""
        if self.graph is None:
            raise LaminaError(
                "This model wraps a torch module.", "A graph of layers can be drawn.", "Describe it with lamina.layers."
            )
        return draw(self.graph)

    def _described(self) -> dict[str, Any]:
        return file.describe(self._own_net, self.graph)
