"""Architectures, one file a paper. `create(name)` builds one with fresh initial values; all end in logits.

Beside the names of `names()`, "timm/NAME" is a network of timm's, and "FILE.py:Name" or "package.module:Name" somebody's own.
What stands on another network's maps, such as a detector or a segmenter, is in `names(task)`; `create_on` builds it on weights at hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

from torch import nn

from lamina.core.errors import FileFormatError, LaminaError, UnknownNameError, unknown_name
from lamina.networks import (
    airbench,
    alexnet,
    alexnet_2012,
    by_path,
    cifar_resnet,
    deepconvnet,
    deeplab,
    densenet,
    fastconvnet,
    faster_rcnn,
    fcn,
    fcos,
    from_timm,
    googlenet,
    googlenet_2014,
    lenet5,
    mobilenet_v1,
    mobilenet_v2,
    nin,
    preact_resnet,
    resnet,
    retinanet,
    segnet,
    squeezenet,
    ssdlite,
    unet,
    vgg,
)
from lamina.networks.airbench import Airbench
from lamina.networks.cifar_resnet import CifarResNet
from lamina.networks.contract import class_layers, feature_dims, features, replace_head
from lamina.networks.deepconvnet import DeepConvNet
from lamina.networks.fastconvnet import FastConvNet
from lamina.networks.headlines import HEADLINES
from lamina.networks.network import Network
from lamina.networks.trunk import Trunk

__all__ = [
    "Airbench",
    "CifarResNet",
    "DeepConvNet",
    "FastConvNet",
    "Network",
    "Trunk",
    "architecture",
    "arguments",
    "backbone",
    "check_name",
    "class_layers",
    "create",
    "create_on",
    "default",
    "feature_dims",
    "features",
    "headline",
    "names",
    "recreate",
    "replace_head",
]

_COLOURS = 3
_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **airbench.VARIANTS,
    **deepconvnet.VARIANTS,
    **fastconvnet.VARIANTS,
    **resnet.VARIANTS,
    **preact_resnet.VARIANTS,
    **cifar_resnet.VARIANTS,
    **alexnet.VARIANTS,
    **alexnet_2012.VARIANTS,
    **densenet.VARIANTS,
    **googlenet.VARIANTS,
    **googlenet_2014.VARIANTS,
    **lenet5.VARIANTS,
    **mobilenet_v1.VARIANTS,
    **mobilenet_v2.VARIANTS,
    **nin.VARIANTS,
    **squeezenet.VARIANTS,
    **unet.VARIANTS,
    **vgg.VARIANTS,
}

# By the task: made on a Trunk, and the network that this is of where nobody says.
_STANDING: dict[str, dict[str, tuple[Callable[..., nn.Module], str]]] = {
    "detection": {**faster_rcnn.STANDING, **fcos.STANDING, **retinanet.STANDING, **ssdlite.STANDING},
    "segmentation": {**deeplab.STANDING, **fcn.STANDING, **segnet.STANDING, **unet.STANDING},
}


def names(task: str = "classification") -> list[str]:
    """The names of the networks here that end in classes of pictures, or of those for another task, which stand on one of them.

    `create` knows timm's and paths beside them.
    """
    if task == "classification":
        return sorted(_NETWORKS)
    if task not in _STANDING:
        raise unknown_name("task of networks", task, ("classification", *_STANDING))
    return sorted(_STANDING[task])


def backbone(name: str) -> str:
    """The network on whose maps the network of that name stands where nobody says."""
    return _standing(name)[1]


def stands(name: str) -> bool:
    """Whether it is the name of a network that stands on the maps of another, whose number of classes is to be told."""
    return any(name in table for table in _STANDING.values())


def _standing(name: str) -> tuple[Callable[..., nn.Module], str]:
    found = next((table[name] for table in _STANDING.values() if name in table), None)
    if found is None:
        raise unknown_name("network on another's maps", name, [each for table in _STANDING.values() for each in table])
    return found


def check_name(name: str, task: str = "classification") -> None:
    """Raises UnknownNameError where `create` does not know the name, and LaminaError where a path leads nowhere. Runs no file."""
    if task != "classification":
        if name not in names(task):
            raise unknown_name(f"network for {task}", name, names(task))
        return
    if name.startswith(from_timm.PREFIX):
        from_timm.check(name)
    elif by_path.is_path(name):
        by_path.check_path(name)
    elif name.endswith(".py"):
        raise by_path.without_name(name)
    elif name not in _NETWORKS:
        error = unknown_name("network", name, _NETWORKS)
        if from_timm.knows(name):
            error = UnknownNameError(error.came, error.expected, f"timm has it: write {from_timm.PREFIX}{name}.")
        raise error


def arguments(name: str) -> list[str]:
    """The names of the arguments that the network takes; of timm's, of those that networks here have too."""
    if name.startswith(from_timm.PREFIX):
        return from_timm.arguments(name)
    return list(_signature(name))


def _signature(name: str) -> Mapping[str, inspect.Parameter]:
    check_name(name)
    return inspect.signature(by_path.find(name) if by_path.is_path(name) else _NETWORKS[name]).parameters


def default(name: str, argument: str) -> Any:
    """What an argument of the network is where nobody says; None where it has no such argument, or timm knows it."""
    taken = None if name.startswith(from_timm.PREFIX) else _signature(name).get(argument)
    return None if taken is None or taken.default is inspect.Parameter.empty else taken.default


def headline(name: str) -> str:
    """What the network is, in a line: of those here at most 42 characters, of others what their file or docstring says first."""
    if name.startswith(from_timm.PREFIX):
        return from_timm.headline(name)
    check_name(name)
    if by_path.is_path(name):
        return next(iter((by_path.find(name).__doc__ or "").splitlines()), name)
    return HEADLINES[name]


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    dropout: float | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A network by name, with fresh initial values drawn from torch's generator; `features(net, images)` gives the maps of any.

    `name` is one of `names()`, "timm/NAME", or "FILE.py:Name" or "package.module:Name" of a function or class, whose code is
    run. None leaves the network's own default; timm's have 3 channels then. `image_size` (px) and `dropout` (share) are for the
    networks that take them, and `arguments` are further ones of the network, by name. Somebody's own is told classes and
    channels (3 where nobody says) where it takes them. Raises UnknownNameError, LaminaError for an argument that the network
    does not take or that is no number of classes or channels, and MissingExtraError without timm.
    """
    own = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size, "dropout": dropout}
    told: dict[str, Any] = {argument: value for argument, value in own.items() if value is not None}
    if by_path.is_path(name):
        return _made_by(name, {"in_channels": _COLOURS} | told, arguments or {})
    told |= dict(arguments or {})
    if stands(name):
        under = told.pop("backbone", backbone(name))
        own = {"in_channels": told.pop("in_channels", _COLOURS), **told.pop("backbone_arguments", {})}
        return create_on(name, create(under, arguments=own), arguments=told)
    if name.startswith(from_timm.PREFIX):
        told.setdefault("in_channels", _COLOURS)
        net = from_timm.create(name, told)
        told.setdefault("num_classes", net.num_classes)
    else:
        taken = _signature(name)
        for argument in ("num_classes", "in_channels"):
            told.setdefault(argument, taken[argument].default)  # a file must not depend on later defaults
            if not isinstance(told[argument], Integral) or told[argument] < 1:
                raise LaminaError(
                    f"The network {name!r} was given {argument}={told[argument]!r}.",
                    "A whole number of at least 1 was expected.",
                    "Pass one.",
                )
        refused = [argument for argument in told if argument not in taken]
        if refused:
            raise LaminaError(
                f"The network {name!r} was given {', '.join(refused)}.",
                f"It takes {', '.join(taken)}.",
                f"Leave {' and '.join(refused)} out.",
            )
        net = _NETWORKS[name](**told)
    net.architecture = {"name": name, "arguments": told}  # type: ignore[assignment]
    return net


def create_on(name: str, net: nn.Module, *, arguments: Mapping[str, Any]) -> nn.Module:
    """A network that stands on the maps of `net`, which becomes a part of it, with fresh initial values for what is new.

    `name` is one of `names(task)`; `arguments`, among them num_classes, are its own. Raises LaminaError where it takes others.
    """
    factory, _ = _standing(name)
    taken = list(inspect.signature(factory).parameters)[1:]
    refused = [argument for argument in arguments if argument not in taken]
    if refused or "num_classes" not in arguments:
        raise LaminaError(
            f"The network {name!r} was given {', '.join(arguments) or 'nothing'}.",
            f"It takes {', '.join(taken)}; num_classes is needed.",
            f"Leave {' and '.join(refused)} out." if refused else "Say how many classes there are.",
        )
    made_from = architecture(net)
    made = factory(Trunk(net), **arguments)
    if made_from is not None:  # else it is somebody's own: a model file must not name code
        under = {"backbone": made_from["name"], "backbone_arguments": dict(made_from["arguments"])}
        made.architecture = {"name": name, "arguments": {**arguments, **under}}  # type: ignore[assignment]
    return made


def _made_by(path: str, told: Mapping[str, Any], arguments: Mapping[str, Any]) -> nn.Module:
    """Somebody's own network. It has no `architecture`: a model file must not name code."""
    offered = ("num_classes", "in_channels")  # their defaults are ours, so a network need not take them
    further = {name: value for name, value in told.items() if name not in offered} | dict(arguments)
    offers = {name: lambda value=value: value for name, value in told.items() if name in offered}
    made = by_path.make(path, offers, further)
    if not isinstance(made, nn.Module):
        raise LaminaError(
            f"{path} gave something of the type {type(made).__name__}.",
            "A torch module was expected.",
            "Return the network from it.",
        )
    return made


def recreate(name: Any, arguments: Any) -> nn.Module:
    """The network that a file describes by `architecture`. Never runs code that a file names: a path is a FileFormatError."""
    _check_told(name, arguments)
    return create(name, arguments=arguments)


def _check_told(name: Any, arguments: Any) -> None:
    """Raises FileFormatError where a file names code, as the network or as one that it stands on."""
    standing = isinstance(name, str) and stands(name)
    named = isinstance(name, str) and ":" not in name  # "timm/FILE.py:Name" is a path
    known = named and (name in _NETWORKS or standing or name.startswith(from_timm.PREFIX))
    if named and not known:
        check_name(name)  # a network of a later version, or a mistyped one: the nearest are told
    if not known or not isinstance(arguments, Mapping):
        raise FileFormatError(
            f"The file asks for the network {name!r}.",
            "The name of a network of lamina's or timm's and its arguments were expected: a file may name no code.",
            "Do not trust this file.",
        )
    if standing and "backbone" in arguments:
        _check_told(arguments["backbone"], arguments.get("backbone_arguments", {}))


def architecture(net: nn.Module) -> dict[str, Any] | None:
    """The name and arguments that `create` made this network from; None for any other, and for one made by a path."""
    made_from: dict[str, Any] | None = net.__dict__.get("architecture")
    return made_from
