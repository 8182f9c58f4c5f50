"""Train and eval mode, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def in_eval_mode(*networks: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards every module is in the mode that it was in, frozen BatchNorms included."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
