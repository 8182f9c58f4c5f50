"""Networks of timm (Ross Wightman and others, Apache 2.0), by "timm/NAME". They need the extra `timm`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from torch import nn

from lamina.core.errors import LaminaError, MissingExtraError, unknown_name

PREFIX = "timm/"

# Ours, and timm's names for them.
_OWN = {"num_classes": "num_classes", "in_channels": "in_chans", "image_size": "img_size", "dropout": "drop_rate"}

# What fetches or opens a file, or makes something else than a classifier: a model file must not be able to ask for it.
_REFUSED = {"checkpoint_path", "cache_dir", "features_only", "feature_cfg", "model_cfg", "kwargs_filter", "scriptable"}


def knows(name: str) -> bool:
    """Whether timm is installed and has a network of this name, written without the prefix."""
    try:
        return bool(_timm(name).is_model(name))
    except MissingExtraError:
        return False


def check(name: str) -> None:
    """Raises MissingExtraError without timm, and UnknownNameError where timm has no network of that name."""
    timm = _timm(name)
    if not timm.is_model(name.removeprefix(PREFIX)):
        near = (f"{PREFIX}{known}" for known in timm.list_models())
        raise unknown_name("network", name, near)


def arguments(name: str) -> list[str]:
    """Ours that the network takes. Those of timm's own classes can be given beside them."""
    check(name)
    fixed = _timm(name).get_pretrained_cfg(name.removeprefix(PREFIX)).fixed_input_size
    return [argument for argument in _OWN if argument != "image_size" or fixed]


def headline(name: str) -> str:
    """What timm's file says of it first."""
    check(name)
    made_by = _timm(name).model_entrypoint(name.removeprefix(PREFIX))
    first = (sys.modules[made_by.__module__].__doc__ or "").strip().partition("\n")[0]
    return f"{name.removeprefix(PREFIX)} of timm: {first}" if first else f"{name.removeprefix(PREFIX)} of timm"


def create(name: str, told: Mapping[str, Any]) -> nn.Module:
    """The network with fresh values. `told` are arguments of ours, and any of timm's that fetches nothing."""
    check(name)
    refused = [argument for argument in told if argument in _REFUSED or argument.startswith("pretrained")]
    if refused:
        raise LaminaError(
            f"The network {name!r} was given {', '.join(refused)}.",
            "Arguments that fetch or open nothing were expected.",
            "Fill it afterwards: net.load_state_dict(timm.create_model(NAME, pretrained=True).state_dict()).",
        )
    renamed = {_OWN.get(argument, argument): value for argument, value in told.items()}
    try:
        made: nn.Module = _timm(name).create_model(name.removeprefix(PREFIX), pretrained=False, **renamed)
    except TypeError as error:  # timm passes arguments on unseen, down to the class
        raise LaminaError(
            f"timm could not make {name.removeprefix(PREFIX)!r} with {', '.join(renamed)} ({error}).",
            "Arguments of its class were expected.",
            "Leave out the one that is named.",
        ) from error
    return made


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError:
        raise MissingExtraError(f"The network {name!r}", "timm") from None
    return timm
