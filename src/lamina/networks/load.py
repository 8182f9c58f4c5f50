"""Fills networks from published or own files of weights: all of it, or an error that names what does not fit.

found = pretrained("resnet18", True)        # fetched, checked, read, under our names
net = networks.create("resnet18", num_classes=2, arguments=found.arguments)
print(found.fill(net))                      # says which layers keep fresh values
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lamina import networks
from lamina.core.download import download, is_genuine
from lamina.core.errors import FileFormatError, LaminaError
from lamina.networks import keys, misfit, weights
from lamina.networks.state_files import book_state, read_arrays, read_state
from lamina.networks.weights import Weights

__all__ = ["Filled", "Pretrained", "book_state", "fill", "pretrained", "read_arrays", "read_state"]

_COUNTER = "num_batches_tracked"  # BatchNorm's; old files lack it, and nothing depends on it


@dataclass(frozen=True)
class Filled:
    """What came of filling a network; as text one sentence for a person.

    `tensors` were filled. `fresh` class layers keep the values that they were made with, for the reason in `why`. `left_out` are
    parts of the file that the network was built without.
    """

    source: str
    tensors: int
    fresh: tuple[str, ...] = ()
    why: str = ""
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.source}: {self.tensors:,} tensors"
        if self.fresh:
            layers = f"the class layer{'s' * (len(self.fresh) > 1)} {', '.join(self.fresh)}"
            text += f"; {layers} {'is' if len(self.fresh) == 1 else 'are'} new and untrained ({self.why})"
        if self.left_out:
            text += f"; {', '.join(self.left_out)} of the file left out, the network was built without"
        return f"{text}."


@dataclass(frozen=True)
class Pretrained:
    """Weights that were found and read: their state under our names, and where they are published ones what is known of them.

    A file of one's own has no `weights`: its classes, preprocessing and accuracy are not known. `arguments` are what
    `networks.create` has to be given beside the number of classes.
    """

    source: str
    state: Mapping[str, Tensor] = field(repr=False)
    weights: Weights | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def fill(self, net: nn.Module) -> Filled:
        """Fills the network; class layers for another number of classes keep fresh values, which is told. Raises FileFormatError."""
        optional = () if self.weights is None else self.weights.optional
        return fill(net, self.state, self.source, class_layers=networks.class_layers(net), optional=optional)


def pretrained(network: str, told: bool | str | os.PathLike[str]) -> Pretrained | None:
    """Weights for a network of `networks.names()`: True the best published ones, or their name, or the path of a file.

    Published ones are fetched where they are not at hand, and checked by their hash. A file that is a published one, by its
    hash, is known as that. None for False. Raises UnknownNameError, DownloadError, FileFormatError, and LaminaError for a
    network without published weights, or an address.
    """
    if told is False or told is None:
        return None
    if isinstance(told, str) and "://" in told:
        raise LaminaError(
            f"The address {told} was given for weights.",
            "True, the name of published weights or the path of a file was expected: only what has a known hash is fetched.",
            "Fetch the file yourself, and pass its path.",
        )
    if told is not True and not (isinstance(told, str) and told in weights.names(network)):
        if isinstance(told, str) and not Path(told).exists() and os.sep not in told and "." not in told:
            weights.get(network, told)  # which tells the known names
        path = Path(told)
        return _read(network, path, _known(network, path))
    known = weights.get(network, told if isinstance(told, str) else True)
    path = download(known.urls, name=known.file, digest=known.digest, folder="weights", licence=known.licence)
    return _read(network, path, known)


def _read(network: str, path: Path, known: Weights | None) -> Pretrained:
    state = read_state(path)
    source = str(path) if known is None else f"{network} {known.name}"
    state = keys.renamed(state, known.keys if known else keys.recognised(state))
    return Pretrained(source, state, known, _arguments(network, state) if known is None else known.arguments)


def _arguments(network: str, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """What a file of one's own tells itself: one without a network's optional parts needs it without them, as published ones do."""
    usual = weights.get(network) if weights.names(network) else None
    if usual is None or not usual.optional or any(_below(part, state) for part in usual.optional):
        return {}
    return usual.arguments


def _known(network: str, path: Path) -> Weights | None:
    """The published weights that a file is; None for any other."""
    found = (weights.get(network, name) for name in weights.names(network))
    return next((w for w in found if path.is_file() and is_genuine(path, w.digest)), None)


def fill(
    net: nn.Module,
    state: Mapping[str, Tensor],
    source: str | os.PathLike[str],
    *,
    class_layers: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> Filled:
    """Copies a state into a network by name; every tensor must be there, in its shape, and nothing else.

    But for `class_layers` (dotted names) that the state has for another number of classes, or has not at all: these keep their
    values, and that is told. Parts of the state named in `optional` are left out where the network was built without them. Raises
    FileFormatError that lists what does not fit, and why that may be; the network is unchanged then.
    """
    own, given = net.state_dict(), dict(state)
    left_out = tuple(part for part in optional if _below(part, given) and not _below(part, own))
    for part in left_out:
        for key in _below(part, given):
            del given[key]
    fresh, reasons = [], []
    for layer in class_layers:
        mine, theirs = _below(layer, own), _below(layer, given)
        if not mine or set(theirs) - set(mine):
            continue  # nothing that could be explained by another number of classes
        if not theirs:
            reasons.append("the file has none")
        elif set(theirs) == set(mine) and all(_classes_differ(own[key], given[key]) for key in mine):
            reasons.append(f"{given[mine[0]].shape[0]:,} classes there, {own[mine[0]].shape[0]:,} here")
        else:
            continue
        fresh.append(layer)
        for key in theirs:
            del given[key]
    kept = {key for layer in fresh for key in _below(layer, own)}
    wrong = misfit.Misfit(
        missing=[key for key in own if key not in given and key not in kept and not key.endswith(_COUNTER)],
        unexpected=[key for key in given if key not in own],
        shapes=[key for key in own if key in given and _misshapen(own[key], given[key])],
    )
    if wrong and not any(module._load_state_dict_pre_hooks for module in net.modules()):  # such may rename keys
        raise misfit.error(net, state, wrong, str(source))
    try:
        net.load_state_dict({**{key: own[key] for key in kept}, **given})
    except (RuntimeError, TypeError) as error:
        raise FileFormatError(
            f"The weights in {source} do not fit the network.",
            f"{' '.join(str(error).split())}",
            "Build the network with the arguments that the weights were made with.",
        ) from error
    filled = len(given)
    return Filled(str(source), filled, tuple(fresh), "; ".join(dict.fromkeys(reasons)), left_out)


def _below(part: str, state: Mapping[str, Any]) -> list[str]:
    return [key for key in state if key.startswith(f"{part}.")]


def _classes_differ(mine: Any, theirs: Any) -> bool:
    """Whether two tensors of a class layer differ in the number of classes, and in nothing else."""
    return bool(mine.shape[0] != theirs.shape[0] and mine.shape[1:] == theirs.shape[1:]) if mine.dim() else False


def _misshapen(mine: Any, theirs: Any) -> bool:
    both = isinstance(mine, Tensor) and isinstance(theirs, Tensor)
    return both and not is_lazy(mine) and mine.shape != theirs.shape
