"""Optimizers by name, and torch's own."""

from __future__ import annotations

import functools

import pytest
import torch

from lamina import optimizers
from lamina.core.errors import LaminaError, UnknownNameError

PARAMETERS = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(3))]


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
@pytest.mark.parametrize("fused", [True, False])
def test_every_name_builds(name: str, fused: bool) -> None:
    spec = optimizers.get(name)
    optimizer = optimizers.build(name, PARAMETERS, fused=fused)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups[0]["lr"] == spec.learning_rate  # type: ignore[attr-defined]


def test_names_are_taken_in_any_case_and_objects_and_classes_too() -> None:
    assert optimizers.get("RMSprop") == optimizers.get(optimizers.RMSprop) == optimizers.RMSprop()
    spec = optimizers.SGD(0.1)
    assert optimizers.get(spec) is spec
    assert optimizers.NAdam is optimizers.Nadam


def test_torch_factories_keep_torchs_meaning() -> None:
    adam = optimizers.build(torch.optim.Adam, PARAMETERS, fused=True)
    assert type(adam) is torch.optim.Adam
    assert adam.defaults["eps"] == 1e-8
    assert not adam.defaults["fused"]
    partial = functools.partial(torch.optim.SGD, lr=0.3)
    assert optimizers.build(partial, iter(PARAMETERS)).param_groups[0]["lr"] == 0.3
    assert optimizers.build(lambda p: torch.optim.SGD(p, lr=0.2), PARAMETERS).param_groups[0]["lr"] == 0.2


def test_what_is_no_optimizer_is_named() -> None:
    with pytest.raises(UnknownNameError, match="'adamw'"):
        optimizers.get("adamv")
    with pytest.raises(LaminaError, match=r"already built.*functools\.partial\(torch\.optim\.SGD"):
        optimizers.get(torch.optim.SGD(PARAMETERS))  # type: ignore[arg-type]
    with pytest.raises(LaminaError, match=r"3 \(int\)"):
        optimizers.get(3)  # type: ignore[arg-type]
    with pytest.raises(LaminaError, match="made list"):
        optimizers.build(list, PARAMETERS)  # type: ignore[arg-type]
