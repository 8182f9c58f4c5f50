"""Transfer learning: which part of a network learns, and how fast.

Layers are counted in the order in which they were registered, which is that of the forward pass in a network that is
written down as it runs. Nothing is wrapped: parameters and the keys of `state_dict` stay the user's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lamina.core.errors import LaminaError, UnknownNameError, nearest_names
from lamina.optimizers import Group

_NORMS = (nn.modules.batchnorm._BatchNorm,)


def freeze(
    net: nn.Module, up_to: str | None = None, *, heads: Sequence[str] | None = None, statistics: bool = True
) -> list[str]:
    """Lets a network learn only behind a layer: all before it and itself are frozen. Returns the names of frozen parameters.

    `up_to` names a module, as `net.named_modules()` does ("layer3", "features.4"); None is all but the class layers,
    `heads`, or what the network calls so (`class_layers`), or its last layer with weights. What was frozen before and lies
    behind is let go.

    With `statistics` the frozen BatchNorms use the means and variances that they have, also while training, and do not
    follow the new pictures: they are put in eval mode, and the loop leaves modules in the mode in which it finds them in
    a network that trains. (`net.train()` by hand undoes it.) Raises UnknownNameError for a name that is no module's.
    """
    unfreeze(net)
    frozen = _before(net, heads) if up_to is None else _up_to(net, up_to)
    names = []
    for name, parameter in net.named_parameters():
        if id(parameter) in frozen:
            parameter.requires_grad_(False)
            names.append(name)
    if statistics:
        for module in net.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, _NORMS) and own and all(id(p) in frozen for p in own):
                module.eval()
    return names


def unfreeze(net: nn.Module) -> None:
    """Lets all of a network learn, and its BatchNorms follow the pictures."""
    net.requires_grad_(True)
    net.train()


def freeze_statistics(net: nn.Module) -> None:
    """Keeps the means and variances of all BatchNorms as they are while the network trains; their weights still learn."""
    net.train()
    for module in net.modules():
        if isinstance(module, _NORMS):
            module.eval()


def is_folded(net: nn.Module) -> bool:
    """Whether training would spoil BatchNorms that were folded into convolutions: right with the statistics that they hold alone.

    Those are 0 and 1, of no pictures, and the weights are what undoes the epsilon, where those of fresh BatchNorms are 1 or drawn.
    """
    norms = [
        m
        for m in net.modules()
        if isinstance(m, _NORMS) and m.affine and m.track_running_stats and not is_lazy(m.weight)
    ]
    follow = any(
        norm.training or not net.training for norm in norms
    )  # the loop leaves modes as they are in a net that trains
    return follow and all(
        not bool(norm.running_mean.any()) and bool((norm.running_var == 1).all()) and _undoes_epsilon(norm)  # type: ignore[union-attr]
        for norm in norms
    )


def _undoes_epsilon(norm: Any) -> bool:
    """Whether the weights are sqrt(1 + epsilon), with which a variance of 1 is divided by nothing, and more than fresh ones."""
    wanted = torch.full_like(norm.weight, math.sqrt(1 + norm.eps))
    return bool((norm.weight != 1).all()) and bool(torch.allclose(norm.weight, wanted, rtol=1e-6, atol=0.0))


def depth_rates(
    net: nn.Module, *, decay: float = 0.5, parts: int = 5, rate: float = 1.0, heads: Sequence[str] | None = None
) -> tuple[Group, ...]:
    """Groups for an Update (`groups=...`) whose learning rates fall with the distance from the classes.

    The class layers (`heads`, as for `freeze`) learn at `rate` times the optimizer's learning rate. The other layers with
    weights, in their order, are cut into `parts` of as many layers each; the last one learns at `rate` x `decay`, the one
    before it at `rate` x `decay`^2, and so on (the discriminative rates of Howard & Ruder 2018, section 3.2, arXiv:1801.06146, by parts).
    """
    for name, value in (("decay", decay), ("rate", rate)):
        if not 0 < value <= 1:
            raise LaminaError(
                f"depth_rates: {name} is {value!r}.", "A share above 0 and at most 1 was expected.", "Usual is 0.5."
            )
    if parts < 1:
        raise LaminaError(f"depth_rates: parts is {parts!r}.", "At least 1 was expected.", "Usual is 5.")
    body = _before(net, heads)
    layers = [
        [f"{path}.{name}" if path else name for name, p in module.named_parameters(recurse=False) if id(p) in body]
        for path, module in net.named_modules()
    ]
    layers = [names for names in layers if names]
    members: list[list[str]] = [[] for _ in range(parts)]
    for place, names in enumerate(layers):
        members[place * parts // len(layers)] += names
    head = [name for name, p in net.named_parameters() if id(p) not in body]
    groups = [Group(_Part("the class layers", frozenset(head)), rate)] if head else []
    for number, names in enumerate(reversed(members), start=1):
        if names:
            label = f"part {parts - number + 1} of {parts}, from {names[0]} on"
            groups.append(Group(_Part(label, frozenset(names)), rate * decay**number))
    return tuple(groups)


@dataclass(frozen=True)
class _Part:
    """Matches the parameters of one part of a network; prints as its label, which a run's config.yaml shows."""

    label: str
    names: frozenset[str]

    def __call__(self, name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
        return name in self.names

    def __repr__(self) -> str:
        return self.label


def _has(net: nn.Module, name: str) -> bool:
    try:
        net.get_submodule(name)
    except AttributeError:
        return False
    return True


def _before(net: nn.Module, heads: Sequence[str] | None) -> set[int]:
    """The parameters (by id) of all but the class layers. Raises where there are none."""
    if heads is None:
        told = getattr(net, "class_layers", None)
        weighted = [name for name, m in net.named_modules() if any(p.dim() > 1 for p in m.parameters(recurse=False))]
        heads = weighted[-1:] if told is None else list(told)
    body = {id(p) for p in net.parameters()}
    body -= {id(p) for name in heads for p in net.get_submodule(name).parameters()}
    if not body:
        raise LaminaError(
            f"{type(net).__name__} has no layer with weights before its class layer.",
            "Freezing and rates by depth are for networks of several layers.",
            "Train it as it is.",
        )
    return body


def _up_to(net: nn.Module, up_to: str) -> set[int]:
    """The parameters (by id) of all modules up to the end of a named one."""
    if not up_to or not _has(net, up_to):
        known = [name for name, _ in net.named_modules() if name]
        raise UnknownNameError(
            f"The network has no layer {up_to!r}.",
            f"The nearest names: {', '.join(map(repr, nearest_names(up_to, known)))}.",
            "Name a module as net.named_modules() does.",
        )
    inside = {name for name, _ in net.get_submodule(up_to).named_modules(prefix=up_to)}
    found: set[int] = set()
    reached = False
    for name, parameter in _in_order(net):
        if name in inside:
            reached = True
        elif reached:
            break
        found.add(id(parameter))
    if not reached:  # a layer without parameters, such as a pooling: all that is registered before it
        order = [name for name, _ in net.named_modules()]
        before = set(order[: order.index(up_to)])
        found = {id(parameter) for name, parameter in _in_order(net) if name in before}
    return found


def _in_order(net: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter with the name of the module that owns it, in the order of registration."""
    for path, module in net.named_modules():
        for parameter in module.parameters(recurse=False):
            yield path, parameter
