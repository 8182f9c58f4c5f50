"""Architectures, one file a paper. `create(name)` builds one with fresh initial values; all end in logits."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from lamina.core.errors import LaminaError, unknown_name
from lamina.networks import cifar_resnet
from lamina.networks.airbench import Airbench
from lamina.networks.cifar_resnet import CifarResNet
from lamina.networks.deepconvnet import DeepConvNet
from lamina.networks.fastconvnet import FastConvNet

__all__ = [
    "Airbench",
    "CifarResNet",
    "DeepConvNet",
    "FastConvNet",
    "architecture",
    "arguments",
    "check_name",
    "create",
    "headline",
    "names",
]

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "airbench": Airbench,
    "deepconvnet": DeepConvNet,
    "fastconvnet": FastConvNet,
    **cifar_resnet.VARIANTS,
}


def names() -> list[str]:
    """The names that `create` knows."""
    return sorted(_NETWORKS)


def check_name(name: str) -> None:
    """Raises UnknownNameError where `create` does not know the name."""
    if name not in _NETWORKS:
        raise unknown_name("network", name, _NETWORKS)


def arguments(name: str) -> list[str]:
    """The names of the arguments that the network takes."""
    return list(_signature(name))


def _signature(name: str) -> Mapping[str, inspect.Parameter]:
    check_name(name)
    return inspect.signature(_NETWORKS[name]).parameters


def headline(name: str) -> str:
    """What the network's file says of it first."""
    check_name(name)
    made_by = _NETWORKS[name]
    described = made_by.func if isinstance(made_by, partial) else made_by
    return (sys.modules[described.__module__].__doc__ or "").splitlines()[0]


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    image_size: int | None = None,
    dropout: float | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A network by name, with fresh initial values drawn from torch's generator.

    None leaves the network's own default; `image_size` (px) and `dropout` (share) are for the networks that take them, and
    `arguments` are further ones of the network, by name. Raises UnknownNameError, and LaminaError for an argument that the
    network does not take.
    """
    own = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size, "dropout": dropout}
    taken = _signature(name)
    if num_classes is None:
        own["num_classes"] = taken["num_classes"].default  # told too: a file must not depend on later defaults
    told = {argument: value for argument, value in own.items() if value is not None} | dict(arguments or {})
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


def architecture(net: nn.Module) -> dict[str, Any] | None:
    """The name and arguments that `create` made this network from; None for any other."""
    made_from: dict[str, Any] | None = net.__dict__.get("architecture")
    return made_from
