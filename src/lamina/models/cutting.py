"""Finding the softmax or sigmoid that a module ends in, so that losses can be computed from logits."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, NamedTuple

from torch import Tensor, nn

# What autograd calls the operations that only put values elsewhere, and those that averages and maxima are made of.
_PASSING = frozenset(
    re.findall(
        r"\w+",
        "Add Alias Amax Amin Cat Clamp ClampMax ClampMin Clone Constant ConstantPadNd Div Expand Index Maximum Mean Min Max Minimum Mul "
        "Permute Repeat Reshape Rsub Select Slice Split SplitWithSizes Squeeze Stack Sub Sum T ToCopy Transpose Unbind Unsafe "
        "UnsafeView Unsqueeze View",
    )
)


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


def made_by(outputs: Tensor) -> set[str]:
    """The operations that outputs come from, by autograd's names in small letters: {"sigmoid"} of a reshaped sigmoid, or a mean of some.

    Empty where the outputs know no gradients.
    """
    found, seen = set[str](), set[Any]()
    open_ends = [outputs.grad_fn]
    while open_ends:
        node = open_ends.pop()
        if node is None or node in seen:  # None: a constant
            continue
        seen.add(node)
        kind = re.sub(r"Backward\d*$", "", type(node).__name__)
        if kind in _PASSING:
            open_ends += [before for before, _ in node.next_functions]
        else:
            found.add(kind.lower())
    return found
