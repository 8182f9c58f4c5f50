"""The comparison of a network with torchvision's, for those that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn


def randomised(net: nn.Module, *, seed: int = 0) -> nn.Module:
    """Random weights that keep the scale of what passes, and random statistics of BatchNorm, in the place of all there are."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if not value.is_floating_point():
                value.zero_()
            elif name == "running_var" or (name == "weight" and value.dim() == 1):
                value.data.uniform_(0.5, 1.5, generator=generator)
            elif name == "weight":
                value.data.normal_(std=(2 / value[0].numel()) ** 0.5, generator=generator)
            else:
                value.data.normal_(std=0.1, generator=generator)
    return net


def compare(ours: nn.Module, theirs: nn.Module, *, sides: Iterable[int], batch: int = 2) -> None:
    """Gives `ours` the state of `theirs`, and compares answers, gradients and running statistics in both modes."""
    buffers = dict(theirs.named_buffers())
    state = {name: value.clone() if name in buffers else value for name, value in theirs.state_dict().items()}
    ours.load_state_dict(state, strict=True, assign=True)  # weights are shared: some networks have half a gigabyte
    for side in sides:
        for training in (False, True):
            found, expected = (_answer(net.train(training), side=side, batch=batch) for net in (ours, theirs))
            for one, other in zip(found, expected, strict=True):
                assert float(other.detach().std()) > 1e-8, "these weights give the same whatever the pictures are"
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for (name, one), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def _answer(net: nn.Module, *, side: int, batch: int) -> tuple[Tensor, ...]:
    torch.manual_seed(side)
    images = torch.randn(batch, 3, side, side, requires_grad=True)
    answer = net(images)
    outputs = answer if isinstance(answer, tuple) else (answer,)
    outputs = tuple(output for output in outputs if output is not None)
    (gradient,) = torch.autograd.grad(sum(output.square().mean() for output in outputs), images)
    return (*outputs, gradient / gradient.abs().amax().clamp_min(1e-30))


@pytest.fixture
def compare_with_torchvision() -> Callable[..., None]:
    """`(ours, theirs, sides=..., batch=2)`: strict keys, equal logits and gradients in eval and train mode, and equal statistics."""
    return compare


@pytest.fixture
def with_random_state() -> Callable[..., nn.Module]:
    """`(net, seed=0)`: the network with random weights and BatchNorm statistics."""
    return randomised
