"""What the first layer of a network has learnt to look for: its filters as pictures, before and after training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from lamina import networks
from lamina.core import random
from lamina.core.errors import LaminaError, ShapeError
from lamina.explain.drawn import Drawn, across_of, mosaic, stretched
from lamina.models import file

_MOST = 256  # filters in a figure


@dataclass(frozen=True, eq=False)
class Filters(Drawn):
    """The filters of the first convolution (N C h w), and what they were before (None where nobody asked)."""

    layer: str
    after: Float[np.ndarray, "N C h w"]
    before: Float[np.ndarray, "N C h w"] | None = None

    def __repr__(self) -> str:
        count, _, height, width = self.after.shape
        beside = "" if self.before is None else ", and what they were before"
        return f"Filters({self.layer}: {count} of {height} x {width}{beside})"

    @property
    def change(self) -> Float[np.ndarray, " N"] | None:
        """How far each filter went from what it was, relative to the length that it had; None without `before`."""
        if self.before is None:
            return None
        axes = (1, 2, 3)
        moved = np.sqrt(((self.after - self.before) ** 2).sum(axis=axes))
        return np.asarray(moved / np.maximum(np.sqrt((self.before**2).sum(axis=axes)), 1e-12))

    def figure(self) -> Figure:
        """Each filter scaled by itself: in colour where there are three channels, else in grey, a tile for each channel."""
        shown = [("before training", self.before), ("after training", self.after)] if self.before is not None else []
        parts = shown or [("", self.after)]
        tiles = [(name, _tiles(values)) for name, values in parts if values is not None]
        count = len(tiles[0][1])
        columns = across_of(count)
        rows = -(-count // columns)
        width = min(4.0, max(1.8, 0.36 * columns))
        figure = Figure(figsize=(width * len(tiles) + 0.2, width * rows / columns + 0.55), layout="constrained")
        figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
        left = self.after.shape[0] * (1 if self.after.shape[1] == 3 else self.after.shape[1]) - count
        note = f", the first {count}" if left > 0 else ""
        height, across = self.after.shape[2:]
        figure.suptitle(f"{self.layer}: {len(self.after)} filters of {height} x {across}{note}", fontsize=8)
        for place, (name, pictures) in enumerate(tiles):
            axes = figure.add_subplot(1, len(tiles), place + 1)
            mosaic(axes, pictures, columns=columns)
            if name:
                axes.set_title(name, fontsize=8)
        return figure


def filters(model: Any, *, before: Any = None) -> Filters:
    """The filters of the network's first convolution.

    `before` is what to set beside them: another model or network, its state, the path of a model file, or the seed (an integer) with
    which the network was made, if it is one of `networks.names()`: its initial values are drawn again. Raises LaminaError for a
    network without convolutions, ShapeError where the two have other filters.
    """
    net = _net(model)
    name, layer = _first(net)
    after = _array(layer.weight)
    if before is None:
        return Filters(name, after)
    earlier = _array(_weight(before, net, name))
    if earlier.shape != after.shape:
        raise ShapeError(
            f"The filters before have the shape {earlier.shape}.",
            f"Those of {name} have {after.shape}.",
            "Pass an earlier state of the same network.",
        )
    return Filters(name, after, earlier)


def initial(net: nn.Module, seed: int) -> nn.Module:
    """The network with the values that it was made with after `torch.manual_seed(seed)`; torch's generators stay where they were.

    Raises LaminaError for a network that no name describes.
    """
    made_from = networks.architecture(net)
    if made_from is None:
        raise LaminaError(
            f"How {type(net).__name__} was made is not known.",
            "A network of networks.names() can be made again from its seed.",
            "Keep a copy of its state before you train, and pass that: before=state.",
        )
    kept = random.state()
    try:
        torch.manual_seed(seed)
        return networks.recreate(made_from["name"], made_from["arguments"])
    finally:
        random.restore(kept)


def _net(model: Any) -> nn.Module:
    net = model if isinstance(model, nn.Module) else getattr(model, "net", None)
    if not isinstance(net, nn.Module):
        raise LaminaError(
            f"A {type(model).__name__} came as model.",
            "A Model, Classifier, Regressor ... or a torch module was expected.",
            "Take one of its members: model.members[0]." if hasattr(model, "members") else "Pass the model.",
        )
    return net


def _first(net: nn.Module) -> tuple[str, nn.Conv2d]:
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            return name or type(module).__name__, module
    raise LaminaError(
        f"{type(net).__name__} has no convolution.",
        "The filters of the first convolution are what is drawn.",
        "Use a convolutional network (see `lamina models`).",
    )


def _weight(before: Any, net: nn.Module, name: str) -> Tensor:
    if isinstance(before, int) and not isinstance(before, bool):
        return _first(initial(net, before))[1].weight
    if isinstance(before, str | os.PathLike):
        before = file.read(before).tensors
    if isinstance(before, Mapping):
        key = f"{name}.weight"
        if key not in before:
            raise LaminaError(
                f"The state before has no {key}.",
                f"It has {', '.join(list(map(str, before))[:4])} ...",
                "Pass the state_dict() of the same network.",
            )
        value: Tensor = before[key]
        return value
    return _first(_net(before))[1].weight


def _array(weight: Tensor) -> Float[np.ndarray, "N C h w"]:
    return weight.detach().float().cpu().numpy().copy()


def _tiles(values: Float[np.ndarray, "N C h w"]) -> list[np.ndarray]:
    if values.shape[1] == 3:
        return list(stretched(values[:_MOST]).transpose(0, 2, 3, 1))
    return list(stretched(values.reshape(-1, *values.shape[2:])[:_MOST]))
