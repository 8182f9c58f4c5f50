"""Finding the softmax or sigmoid at the end of a module, so that losses can be computed from logits."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from torch import nn


class Closing(NamedTuple):
    """What a module ends in: "softmax" or "sigmoid", and the module without it (None: it is nothing else)."""

    activation: str
    rest: nn.Module | None


def closing(module: nn.Module, *, rank: int | None = None) -> Closing | None:
    """The closing activation of an nn.Softmax over the classes, an nn.Sigmoid, or an nn.Sequential that ends in one.

    Classes are axis 1 of images, the last axis of all else; without `rank`, dim 1 and dim -1 are both taken for them.
    The rest of a Sequential shares its modules and keys.
    """
    if type(module) is nn.Sigmoid:
        return Closing("sigmoid", None)
    if type(module) is nn.Softmax:
        if rank is None:
            return Closing("softmax", None) if module.dim in (1, -1) else None
        classes = 1 if rank == 4 else rank - 1
        return Closing("softmax", None) if module.dim is not None and module.dim % rank == classes else None
    if type(module) is nn.Sequential and len(module) > 1:
        *kept, (name, last) = module.named_children()
        found = closing(last, rank=rank)
        if found is not None and found.rest is None:
            return Closing(found.activation, nn.Sequential(OrderedDict(kept)))
        if found is not None and found.rest is not None:
            return Closing(found.activation, nn.Sequential(OrderedDict([*kept, (name, found.rest)])))
    return None
