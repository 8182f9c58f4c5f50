"""The contract of networks, which anybody can run on their own class; scikit-learn's check_estimator is the example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from lamina import networks
from lamina.testing import answers, parts
from lamina.testing.case import Size, case_for

_CHECKS = (
    answers.check_output,
    answers.check_modes,
    answers.check_copies,
    answers.check_gradients,
    answers.check_rows,
    answers.check_layouts,
    parts.check_maps,
    parts.check_head,
)


def check_network(
    make: str | Callable[[], nn.Module],
    parameters: int | None = None,
    *,
    sizes: Sequence[Size] | None = None,
    in_channels: int | None = None,
) -> None:
    """Runs every check of the networks' contract; the first that fails is a ContractError (an AssertionError) with its name.

    `make` gives a new network with fresh values each time it is called: a class, a function, or a name that `networks.create`
    knows. `parameters` is how many it must have. Each of `sizes` is a side or (height, width) in pixels; None tries the two
    smallest of a few that the network takes. `in_channels` is the pictures' number of channels, None that of the first
    convolution.

    1. parameters: as many as told
    2. output: logits (B K), or a NamedTuple with `logits` among its fields, at each size
    3. modes: train and eval mode give the same type, and eval mode the same answer twice, changing nothing in the network
    4. deepcopy and state: a copy, and a new network with the old one's state, answer bit for bit the same
    5. gradients: every parameter that requires one gets one, finite and not all zero
    6. rows: in eval mode the first row's answer is the same whatever stands in the others
    7. channels-last and bfloat16: the one gives the same answers, the other similar ones
    8. features: the maps are those of `feature_dims`, and their sides grow as their stride says
    9. head: `replace_head` changes the number of classes and nothing else

    Features are asked only of networks that have `feature_dims`, and new heads not of those that have no class layer to replace,
    unless they are subclasses of `networks.Network`, which promise both. torch's generator is afterwards as it was.
    """
    if isinstance(make, str):
        networks.check_name(make)
    built = partial(networks.create, make) if isinstance(make, str) else make
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        case = case_for(built, sizes, in_channels)
        if parameters is not None:
            answers.check_parameters(case, parameters)
        for check in _CHECKS:
            check(case)
