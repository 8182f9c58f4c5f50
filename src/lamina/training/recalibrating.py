"""BatchNorm's running statistics, measured anew for the weights that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lamina.core.errors import DataError
from lamina.training.runtime import evaluating


def recalibrate(net: nn.Module, batches: Iterable[Any], *, forward: Callable[[Any], object] | None = None) -> None:
    """Sets the running statistics of BatchNorm to their means over the batches, each weighed by its size, as evaluation sees them.

    `forward` passes a batch through the network (default: `net` takes its inputs). All else is in eval mode: dropout would change the
    variances. A frozen BatchNorm stays (requires_grad off, or eval mode in a network that trains), as does one that no batch passes
    through. Raises DataError where there is no batch.
    """
    remeasure(followers(net), net, batches, forward)


def remeasure(
    norms: Sequence[_BatchNorm], net: nn.Module, batches: Iterable[Any], forward: Callable[[Any], object] | None
) -> None:
    """`recalibrate` of some BatchNorms of a network."""
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    kept = [[b.clone() for b in norm.buffers()] for norm in norms]
    seen = 0
    try:
        with evaluating(net), torch.no_grad():
            for norm in norms:
                norm.reset_running_stats()
                norm.training = True
            for batch in batches:
                inputs = _inputs(batch)
                seen += len(inputs)
                for norm in norms:
                    norm.momentum = len(inputs) / seen
                if forward is None:
                    net(inputs)
                else:
                    forward(batch)
    except BaseException:
        seen = 0
        raise
    finally:
        for norm, momentum, before in zip(norms, momenta, kept, strict=True):
            norm.momentum = momentum
            if not seen or norm.num_batches_tracked == 0:
                for buffer, value in zip(norm.buffers(), before, strict=True):
                    buffer.copy_(value)
    if not seen:
        raise DataError(
            "recalibrate was given no batch.",
            "BatchNorm's statistics are means over batches.",
            "Pass training batches; an iterator is empty after its first use.",
        )


def _inputs(batch: Any) -> Tensor:
    first = batch[0] if isinstance(batch, tuple | list) else batch
    while isinstance(first, tuple | list):
        first = first[0]
    return torch.as_tensor(first)


def followers(net: nn.Module) -> list[_BatchNorm]:
    """The BatchNorms whose running statistics follow the batches of training."""
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    return [norm for norm in norms if not _frozen(norm, net)]


def _frozen(norm: _BatchNorm, net: nn.Module) -> bool:
    keeps_statistics = net.training and not norm.training
    return keeps_statistics or (norm.weight is not None and not norm.weight.requires_grad)
