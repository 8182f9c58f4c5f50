"""Key maps: the names of tensors in published files, made ours. Nothing else about the tensors changes, but where a map says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from lamina.core.errors import unknown_name

State = dict[str, Tensor]

_EPSILON = 1e-5  # of BatchNorm in the networks that folded weights are for
_OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
_FOLDED = re.compile(r"(conv0|block\d+\.(?:dw|pw))\.(weight|bias)")


def names() -> list[str]:
    """The names of the key maps."""
    return sorted(_MAPS)


def recognised(keys: Iterable[str]) -> str | None:
    """The name of the map that such keys are for; None where they need none that is known."""
    known = list(keys)
    return next((name for name, (pattern, _) in _MAPS.items() if any(pattern.match(key) for key in known)), None)


def renamed(state: State, keys: str | None) -> State:
    """The state under our names by the map `keys`; None leaves it as it is. Raises UnknownNameError."""
    if keys is None:
        return state
    if keys not in _MAPS:
        raise unknown_name("key map", keys, _MAPS)
    return _MAPS[keys][1](state)


def _densenet(state: State) -> State:
    """torchvision's file was written when modules could be called "norm.1"."""
    return {_OLD_DENSE.sub(r"\1\2.", key): value for key, value in state.items()}


def _mobilenet_v1_folded(state: State) -> State:
    """BatchNorm was folded into the convolutions' weights and biases; a BatchNorm that adds the bias and nothing else is put behind.

    Right in eval mode: running statistics of 0 and 1 are those of no pictures, so fine-tune with BatchNorm in eval mode.
    """
    made: State = {}
    for key, value in state.items():
        found = _FOLDED.fullmatch(key)
        if found is None:
            made[key] = value
        elif found[2] == "weight":
            made[f"features.{found[1]}.conv.weight"] = value
        else:
            norm = f"features.{found[1]}.bn"
            made[f"{norm}.weight"] = torch.full_like(value, (1 + _EPSILON) ** 0.5)  # which makes up for the epsilon
            made[f"{norm}.bias"] = value
            made[f"{norm}.running_mean"] = torch.zeros_like(value)
            made[f"{norm}.running_var"] = torch.ones_like(value)
    return made


# By name: what tells such a file, and the map.
_MAPS: dict[str, tuple[re.Pattern[str], Callable[[State], State]]] = {
    "densenet": (re.compile(r"features\.denseblock\d+\.denselayer\d+\.norm\.1\."), _densenet),
    "mobilenet_v1_folded": (re.compile(r"block1\.dw\.bias"), _mobilenet_v1_folded),
}
