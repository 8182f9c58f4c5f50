"""Settings, and three updates of each optimizer beside its formula written out in numpy float64."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch

from lamina import optimizers
from lamina.core.errors import LaminaError

LR, EPS = 0.1, 0.05  # an epsilon this large shows where it stands
Array = Any


def sgd(w: Array, grads: list[Array]) -> Array:
    v = 0.0
    for g in grads:
        w = w - LR * 0.2 * w
        v = 0.9 * v - LR * g
        w = w + 0.9 * v - LR * g
    return w


def adam(w: Array, grads: list[Array]) -> Array:
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        w = w - LR * 0.2 * w
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        w = w - LR * np.sqrt(1 - 0.99**t) / (1 - 0.9**t) * m / (np.sqrt(v) + EPS)
    return w


def nadam(w: Array, grads: list[Array]) -> Array:
    m, v, product = 0.0, 0.0, 1.0
    for t, g in enumerate(grads, 1):
        u, u_next = 0.9 * (1 - 0.5 * 0.96**t), 0.9 * (1 - 0.5 * 0.96 ** (t + 1))
        product *= u
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        m_hat = u_next * m / (1 - product * u_next) + (1 - u) * g / (1 - product)
        w = w - LR * m_hat / (np.sqrt(v / (1 - 0.99**t)) + EPS)
    return w


def adagrad(w: Array, grads: list[Array]) -> Array:
    s = 0.1
    for g in grads:
        w = w - LR * 0.2 * w
        s = s + g**2
        w = w - LR * g / np.sqrt(s + EPS)
    return w


def adadelta(w: Array, grads: list[Array]) -> Array:
    s = d = 0.0
    for g in grads:
        s = 0.95 * s + 0.05 * g**2
        step = np.sqrt(d + EPS) / np.sqrt(s + EPS) * g
        d = 0.95 * d + 0.05 * step**2
        w = w - LR * step
    return w


def rmsprop(w: Array, grads: list[Array]) -> Array:
    v = mean = momentum = 0.0
    for g in grads:
        w = w - LR * 0.2 * w
        v, mean = 0.9 * v + 0.1 * g**2, 0.9 * mean + 0.1 * g
        momentum = 0.5 * momentum + LR * g / np.sqrt(v - mean**2 + EPS)
        w = w - momentum
    return w


FORMULAS = [
    (optimizers.SGD(LR, 0.9, nesterov=True, weight_decay=0.2), sgd),
    (optimizers.Adam(LR, 0.9, 0.99, EPS, weight_decay=0.2), adam),
    (optimizers.AdamW(LR, 0.9, 0.99, EPS, weight_decay=0.2), adam),
    (optimizers.Nadam(LR, 0.9, 0.99, EPS), nadam),
    (optimizers.Adagrad(LR, epsilon=EPS, weight_decay=0.2), adagrad),
    (optimizers.Adadelta(LR, epsilon=EPS), adadelta),
    (optimizers.RMSprop(LR, momentum=0.5, epsilon=EPS, centered=True, weight_decay=0.2), rmsprop),
]


def update(spec: optimizers.Optimizer, *, fused: bool = False, **group: float) -> tuple[Array, Array, list[Array]]:
    random = np.random.default_rng(0)
    start, grads = random.normal(size=(4, 3)), [random.normal(size=(4, 3)) for _ in range(3)]
    parameter = torch.nn.Parameter(torch.tensor(start))
    unused = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))  # without gradient it must not change
    optimizer = spec.build([{"params": iter([parameter, unused]), **group}], fused=fused)
    for grad in grads:
        parameter.grad = torch.tensor(grad)
        optimizer.step()
    assert unused.tolist() == [1.0, 1.0]
    return parameter.detach().numpy(), start, grads


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("spec", "formula"), FORMULAS, ids=lambda case: type(case).__name__)
def test_follows_kerass_formula(spec: optimizers.Optimizer, formula: Any, fused: bool) -> None:
    after, start, grads = update(spec, fused=fused)
    np.testing.assert_allclose(after, formula(start, grads), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("spec", "formula"), FORMULAS, ids=lambda case: type(case).__name__)
def test_groups_keep_their_own_rate_and_decay(spec: Any, formula: Any) -> None:
    other = dataclasses.replace(spec, learning_rate=7.0, weight_decay=7.0)
    after, start, grads = update(other, lr=LR, weight_decay=spec.weight_decay or 0.0)
    np.testing.assert_allclose(after, formula(start, grads), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "spec",
    [
        optimizers.SGD(LR, 0.9, weight_decay=0.2),
        optimizers.Adam(LR, epsilon=EPS),
        optimizers.Nadam(LR),
        optimizers.Adagrad(LR),
        optimizers.Adadelta(LR),
        optimizers.RMSprop(LR, momentum=0.5, centered=True),
        optimizers.Muon(LR, adam_lr_ratio=0.5),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_a_saved_state_goes_on_as_if_nothing_had_happened(spec: optimizers.Optimizer, fused: bool) -> None:
    def run(interrupt: bool) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (5,))]
        optimizer = spec.build(parameters, fused=fused)
        for index in range(6):
            if interrupt and index == 3:
                state = optimizer.state_dict()
                optimizer = dataclasses.replace(spec, learning_rate=9.0).build(parameters, fused=fused)  # type: ignore[type-var]
                optimizer.load_state_dict(state)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        return parameters

    for through, resumed in zip(run(interrupt=False), run(interrupt=True), strict=True):
        assert torch.equal(through, resumed)


def test_without_decay_sgd_and_adam_are_torchs_but_for_the_epsilon() -> None:
    def run(build: Any) -> torch.Tensor:
        parameter = torch.nn.Parameter(torch.linspace(-1, 1, 50))
        optimizer = build([parameter])
        for index in range(5):
            parameter.grad = torch.sin(torch.arange(50.0) + index + 1)
            optimizer.step()
        return parameter.detach()

    ours = run(functools.partial(optimizers.SGD(LR, 0.9).build, fused=True))
    assert torch.equal(ours, run(lambda p: torch.optim.SGD(p, LR, momentum=0.9, fused=True)))
    ours = run(functools.partial(optimizers.Adam(LR, epsilon=0.0).build, fused=True))
    assert torch.equal(ours, run(lambda p: torch.optim.Adam(p, LR, eps=0.0, fused=True)))


def test_centered_rmsprop_survives_a_variance_that_rounding_makes_negative() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1000))
    optimizer = optimizers.RMSprop(centered=True).build([parameter])
    for _ in range(300):
        parameter.grad = torch.linspace(1e3, 1e5, 1000)
        optimizer.step()
    assert torch.isfinite(parameter).all()


def test_lbfgs_solves_a_quadratic_in_one_update() -> None:
    spec = optimizers.LBFGS()
    parameter = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = spec.build([parameter])

    def closure() -> float:
        optimizer.zero_grad()
        loss = ((parameter - 1) ** 2 * torch.tensor([1.0, 10.0])).sum()
        loss.backward()
        return loss  # type: ignore[return-value]

    optimizer.step(closure)
    assert torch.allclose(parameter, torch.ones(2), atol=1e-5)


def test_lr_is_learning_rate() -> None:
    assert optimizers.SGD(lr=0.5) == optimizers.SGD(0.5) == optimizers.SGD(learning_rate=0.5)
    assert optimizers.SGD(lr=0.5).learning_rate == 0.5
    assert optimizers.RMSprop().learning_rate == 0.001
    assert "learning_rate=0.01" in repr(optimizers.SGD())
    assert dataclasses.replace(optimizers.SGD(lr=0.5, momentum=0.9), learning_rate=0.1) == optimizers.SGD(0.1, 0.9)
    with pytest.raises(LaminaError, match=r"learning_rate=0.01 and lr=0.5"):
        optimizers.SGD(0.01, lr=0.5)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf"), "fast", True, None])
def test_a_learning_rate_is_a_number(rate: Any) -> None:
    with pytest.raises(LaminaError, match="learning rate"):
        optimizers.Adam(rate)


@pytest.mark.parametrize("spec", [made() for made in set(optimizers.OPTIMIZERS.values())])
def test_no_parameters_are_an_error(spec: optimizers.Optimizer) -> None:
    with pytest.raises(LaminaError, match="no parameters"):
        spec.build([])


def test_lbfgs_refuses_several_groups() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    with pytest.raises(LaminaError, match="2 groups"):
        optimizers.LBFGS().build(groups)
