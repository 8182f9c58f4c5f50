"""Parameters that have a learning rate or a weight decay of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from lamina.core.errors import LaminaError, UnknownNameError, nearest_names

Match = str | Callable[[str, nn.Parameter, nn.Module], bool]


@dataclass(frozen=True)
class Group:
    """Some parameters: they learn at `rate` times the optimizer's learning rate, with `weight_decay` (None: the optimizer's).

    `match` is a module's or parameter's name, which may hold * and ? ("features", "*.bias"), or a function of a parameter's name,
    the parameter and the module that owns it. Where several groups match, their rates multiply and the first weight decay holds.
    """

    match: Match
    rate: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("weight_decay", self.weight_decay)):
            if value is not None and not 0 <= value < math.inf:
                raise LaminaError(
                    f"Group: {name} is {value}.",
                    "A number that is not negative was expected.",
                    "Pass rate=0.1 for a tenth of the learning rate, weight_decay=0.0 for none.",
                )

    def holds(self, name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
        """Whether a parameter belongs to this group."""
        if isinstance(self.match, str):
            return fnmatchcase(name, self.match) or fnmatchcase(name, f"{self.match}.*")
        return bool(self.match(name, parameter, owner))


def is_bias_or_norm(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Whether a parameter shifts or scales: a bias, anything with less than two dimensions, all that a normalisation owns."""
    return parameter.dim() < 2 or name.endswith("bias") or "norm" in type(owner).__name__.lower()


NO_DECAY = Group(
    is_bias_or_norm, weight_decay=0.0
)  # weight decay is for weights that multiply (He 2019, arXiv:1812.01187)


def arrange(networks: Sequence[nn.Module], groups: Group | Sequence[Group]) -> list[dict[str, Any]]:
    """The trainable parameters of networks as torch's groups: "params", "rate" and, where one was given, "weight_decay".

    With several networks a name begins with the network's number ("0.conv.weight"). Raises UnknownNameError for a name that
    matches nothing.
    """
    chosen = [groups] if isinstance(groups, Group) else list(groups)
    found: set[int] = set()
    names: list[str] = []
    arranged: dict[tuple[float, float | None], list[nn.Parameter]] = {}
    for name, parameter, owner in _owned(networks):
        names.append(name)
        rate, decay = 1.0, None
        for index, group in enumerate(chosen):
            if group.holds(name, parameter, owner):
                found.add(index)
                rate *= group.rate
                decay = group.weight_decay if decay is None else decay
        if parameter.requires_grad:
            arranged.setdefault((rate, decay), []).append(parameter)
    for index, group in enumerate(chosen):
        if isinstance(group.match, str) and index not in found:
            near = ", ".join(repr(name) for name in nearest_names(group.match, names))
            raise UnknownNameError(
                f"No parameter matches the group {group.match!r}.",
                f"The nearest names: {near}.",
                "Name a module or a parameter as net.named_parameters() does; * stands for anything.",
            )
    return [
        {"params": parameters, "rate": rate, **({} if decay is None else {"weight_decay": decay})}
        for (rate, decay), parameters in arranged.items()
    ]


def _owned(networks: Sequence[nn.Module]) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Every parameter once, with its name and the module that owns it."""
    seen: set[int] = set()
    for index, network in enumerate(networks):
        prefix = f"{index}." if len(networks) > 1 else ""
        for path, module in network.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield prefix + (f"{path}.{name}" if path else name), parameter, module
