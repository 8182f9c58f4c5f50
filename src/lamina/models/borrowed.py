"""Weights that a network begins with: published ones by name, a file of them, or another model's file."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.core.sealed import header_of
from lamina.data.preprocess import Preprocess
from lamina.data.resize import INTERPOLATION
from lamina.models import file
from lamina.networks import contract, keys, load, weights

_IMAGENET = 1000  # classes
_CROPS = {"squash": "stretch", "border": "pad"}  # timm's words for what is no crop, and ours

Pretrained = bool | str | os.PathLike[str]


@dataclass(frozen=True)
class Borrowed:
    """The parameters of a network by name, where they come from, and how it has to be used, as far as that is known."""

    state: Mapping[str, Tensor]
    source: str
    classes: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_multi_label: bool = False
    optional: tuple[str, ...] = ()  # parts that the network may be built without
    like: str = ""  # the published weights whose preprocessing is taken for it, where the file does not tell
    said: tuple[str, ...] = ()  # what a person has to know in any case
    trained_on: str = ""
    licence: str = ""

    def told(self) -> dict[str, Any]:
        """What a file of a model that began with them tells of them."""
        facts = {"weights": Path(self.source).name, "trained_on": self.trained_on, "licence": self.licence}
        return {name: value for name, value in facts.items() if value}

    def notes(self, preprocess: Preprocess | None) -> list[str]:
        """What a person has to know where the file does not tell it; `preprocess` is what they told themselves."""
        if not self.like or preprocess is not None or self.preprocess is None:
            return [*self.said]
        taken = self.preprocess
        return [
            *self.said,
            f"{self.source} does not tell its preprocessing; that of {self.like} is taken: {taken.size[0]} x {taken.size[1]} px, "
            f"mean {taken.mean}, std {taken.std}. Pass preprocess=lamina.Preprocess(...) for another.",
        ]

    def create(self, network: str | nn.Module, *, preprocess: Preprocess | None) -> tuple[nn.Module, tuple[str, ...]]:
        """The network with these weights, and the classes that it knows: none where the class layers are not among them.

        Classes that nobody named are "0", "1", ... Raises FileFormatError where anything else is missing, left over or of
        another shape.
        """
        told = dict(self.arguments)
        if isinstance(network, str) and preprocess is not None:
            own = {"in_channels": preprocess.channels, "image_size": preprocess.size[0]}
            told |= {name: value for name, value in own.items() if name in networks.arguments(network)}
        net = network if isinstance(network, nn.Module) else networks.create(network, arguments=told)
        heads = contract.class_layers(net)
        outputs = self._outputs(heads)
        if outputs is not None and outputs != _width(net.get_submodule(heads[0])):
            contract.replace_head(net, outputs)
        bare = tuple(name for name in heads if not any(key.startswith(f"{name}.") for key in self.state))
        load.fill(net, dict(self.state), self.source, class_layers=bare, optional=self.optional)
        if outputs is None:
            return net, ()
        known = self.classes is not None and len(self.classes) == outputs
        return net, self.classes if known and self.classes else tuple(map(str, range(outputs)))

    def _outputs(self, heads: tuple[str, ...]) -> int | None:
        found = (self.state[f"{name}.weight"] for name in heads if f"{name}.weight" in self.state)
        return next((int(weight.shape[0]) for weight in found), None)


def borrow(network: str | nn.Module, told: Pretrained) -> Borrowed:
    """What `pretrained` names: True or a name of `networks.weights`, or the path of a file.

    A model file of lamina's tells its classes and preprocessing itself; those of any other file are the network's published ones.
    """
    name = network if isinstance(network, str) else None
    if isinstance(told, bool) or (isinstance(told, str) and name and told in weights.names(name)):
        if told is False or name is None:
            raise LaminaError(
                f"pretrained={told!r} came{' with a torch module' if name is None else ''}.",
                "True, the name of published weights or the path of a file was expected; a module takes the last.",
                "Leave it out, or pass a path.",
            )
        return _known(name, told)
    if not isinstance(told, str | os.PathLike):
        raise LaminaError(
            f"pretrained is {told!r}.",
            "True, the name of published weights or the path of a file was expected.",
            "Leave it out for fresh values.",
        )
    path = Path(told)
    if path.suffix == ".pkl":
        square = Preprocess(channels=1, size=(28, 28), mean=(0.0,), std=(1.0,))
        return Borrowed(load.book_state(path), str(path), tuple(map(str, range(10))), square)
    if _is_model_file(path):
        return _from_model(path)
    if isinstance(network, nn.Module):
        state, own = load.read_state(path), network.state_dict()
        state = keys.renamed(state, keys.recognised(key for key in state if key not in own))
        made_from = (networks.architecture(network) or {}).get("name")
        return Borrowed(state, str(path), _usual_classes(made_from) if made_from in networks.names() else None)
    return _known(network, told)


def _known(name: str, path: Pretrained) -> Borrowed:
    """Weights by name or from a file; what a file does not tell is taken to be as with the network's published ones."""
    found = load.pretrained(name, path)
    assert found is not None
    facts = found.weights
    if facts is not None:
        return Borrowed(
            found.state,
            found.source,
            facts.class_names,
            facts.preprocess,
            found.arguments,
            optional=facts.optional,
            trained_on=facts.trained_on,
            licence=facts.licence,
        )
    usual = weights.get(name) if weights.names(name) else None
    if usual is None:
        return Borrowed(found.state, found.source, _usual_classes(name))
    told: dict[str, Any] = {"arguments": found.arguments, "like": f"{name} {usual.name}"}
    if found.arguments:
        told["said"] = (f"{found.source} has no {' and '.join(usual.optional)}: the network is built without.",)
    return Borrowed(found.state, found.source, usual.class_names, usual.preprocess, **told)


def _usual_classes(name: str) -> tuple[str, ...] | None:
    """The classes of a network's published weights; published files for so many classes are ImageNet's, in its order."""
    if weights.names(name):
        return weights.get(name).class_names
    return weights.class_names("imagenet") if networks.default(name, "num_classes") == _IMAGENET else None


def brought(net: nn.Module) -> Preprocess | None:
    """The preprocessing that a network brought along tells itself, as timm's do by `pretrained_cfg`; None for any other."""
    told = getattr(net, "pretrained_cfg", None)
    if not isinstance(told, Mapping) or not all(told.get(name) for name in ("mean", "std", "input_size")):
        return None
    channels = contract.in_channels(net) or int(told["input_size"][0])
    if channels == 1 < len(told["mean"]):  # made for grey pictures from weights for colours
        told = {**told, **{name: (sum(told[name]) / len(told[name]),) for name in ("mean", "std")}}
    interpolation = told.get("interpolation")
    return Preprocess(
        channels=channels,
        size=tuple(told["input_size"][1:]),
        resize=_CROPS.get(told.get("crop_mode", ""), "crop"),
        crop=told.get("crop_pct") or 1.0,
        interpolation=interpolation if interpolation in INTERPOLATION else "bilinear",
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
    )


def _is_model_file(path: Path) -> bool:
    if not path.is_file() or path.suffix != ".safetensors":
        return False
    header = header_of(path.read_bytes())
    return header is not None and header.get("format") == "lamina"


def _from_model(path: Path) -> Borrowed:
    contents = file.read(path)
    described = contents.description
    prepared = described.get("preprocess")
    arguments = described.get("network", {}).get("arguments", {})
    return Borrowed(
        contents.tensors,
        str(path),
        tuple(described.get("classes", ())) or None,
        None if prepared is None else Preprocess.from_dict(prepared),
        arguments,
        bool(described.get("multi_label")),
        trained_on=described.get("learnt_from", {}).get("name", ""),
        licence=described.get("began_with", {}).get("licence", ""),
    )


def with_head(net: nn.Module, outputs: int) -> nn.Module:
    """A copy of the network with new class layers. Raises LaminaError where they cannot be replaced."""
    made = copy.deepcopy(net)
    contract.replace_head(made, outputs)
    return made


def _width(layer: nn.Module) -> int | None:
    weight = getattr(layer, "weight", None)
    return int(weight.shape[0]) if isinstance(weight, torch.Tensor) else None
