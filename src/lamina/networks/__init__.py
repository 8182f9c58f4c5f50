"""Architectures, one file a paper. `create(name)` builds one with fresh initial values; all end in logits."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from lamina.core.errors import LaminaError, unknown_name
from lamina.networks.deepconvnet import DeepConvNet
from lamina.networks.fastconvnet import FastConvNet

__all__ = ["DeepConvNet", "FastConvNet", "architecture", "arguments", "check_name", "create", "headline", "names"]

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "deepconvnet": DeepConvNet,
    "fastconvnet": FastConvNet,
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
    check_name(name)
    return list(inspect.signature(_NETWORKS[name]).parameters)


def headline(name: str) -> str:
    """What the network's file says of it first."""
    check_name(name)
    return (sys.modules[_NETWORKS[name].__module__].__doc__ or "").splitlines()[0]


def create(name: str, *, num_classes: int = 10, in_channels: int = 3, **arguments: Any) -> nn.Module:
    """A network by name, with fresh initial values drawn from torch's generator.

    Further arguments are those of the network's class (`image_size`, `dropout`, ...). Raises UnknownNameError.
    """
    check_name(name)
    told = {"num_classes": num_classes, "in_channels": in_channels, **arguments}
    try:
        net = _NETWORKS[name](**told)
    except TypeError as error:
        raise LaminaError(
            f"The network {name!r} was given {sorted(arguments)}.",
            f"It does not take that: {error}.",
            "See help() of its class.",
        ) from error
    net.architecture = {"name": name, "arguments": told}  # type: ignore[assignment]
    return net


def architecture(net: nn.Module) -> dict[str, Any] | None:
    """The name and arguments that `create` made this network from; None for any other."""
    made_from: dict[str, Any] | None = net.__dict__.get("architecture")
    return made_from
