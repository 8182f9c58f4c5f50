"""What a person writes: an optimizer's settings, with Keras's names, defaults and meaning; `build` makes the torch optimizer.

`learning_rate` may be written `lr` (read it back as `learning_rate`). `weight_decay` is decoupled, as in Keras: before the
step each weight loses the share learning_rate * weight_decay of itself. Groups of parameters keep their own `lr` and
`weight_decay`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.optimizers import kernels
from lamina.optimizers.muon import MuonKernel

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimizer(ABC):
    """The settings of an optimizer."""

    @abstractmethod
    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """The torch optimizer of parameters, or of groups of them; `fused` where the device has fused kernels."""


class _Default(float):
    """A learning rate that nobody wrote."""


@dataclass(frozen=True)
class _Rated(Optimizer):
    learning_rate: float = _Default(0.001)
    lr: InitVar[float | None] = field(default=None, kw_only=True)

    def __post_init__(self, lr: float | None) -> None:
        name, given = type(self).__name__, self.learning_rate
        if lr is not None and not isinstance(given, _Default):
            raise LaminaError(
                f"{name} was given learning_rate={given} and lr={lr}.",
                "They are one and the same.",
                "Leave one of them out.",
            )
        rate = given if lr is None else lr
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < math.inf:
            raise LaminaError(
                f"{name}: the learning rate is {rate!r}.",
                "A number that is not negative was expected.",
                "Pass a number such as 0.001; a schedule is given beside the optimizer and multiplies it.",
            )
        object.__setattr__(self, "learning_rate", float(rate))


@dataclass(frozen=True)
class SGD(_Rated):
    """w <- w - lr v with v <- momentum v + g; with nesterov, w <- w - lr (g + momentum v) (Sutskever 2013).

    Keras keeps the learning rate inside v. At a constant rate both are the same; where it changes, this form needs no
    correction of the momentum (Goyal 2017, arXiv:1706.02677, eq. 9).
    """

    learning_rate: float = _Default(0.01)
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float | None = None

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """torch.optim.SGD with decoupled weight decay."""
        return kernels.SGDKernel(
            _listed(parameters),
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            weight_decay=self.weight_decay or 0.0,
            fused=fused,
            foreach=not fused,
        )


@dataclass(frozen=True)
class Adam(_Rated):
    """Adam (Kingma & Ba 2015) with epsilon where Keras has it: in the form before section 2.1."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    weight_decay: float | None = None

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """torch.optim.AdamW with Keras's epsilon; without weight decay it is Adam."""
        return kernels.AdamKernel(
            _listed(parameters),
            lr=self.learning_rate,
            betas=(self.beta_1, self.beta_2),
            epsilon=self.epsilon,
            amsgrad=self.amsgrad,
            weight_decay=self.weight_decay or 0.0,
            fused=fused,
            foreach=not fused,
        )


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with weight decay (Loshchilov & Hutter 2019)."""

    weight_decay: float | None = 0.004


@dataclass(frozen=True)
class Nadam(_Rated):
    """Adam with Nesterov momentum (Dozat 2016); its momentum approaches beta_1 as 1 - 0.96^t / 2, as in Keras."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float | None = None

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """torch.optim.NAdam with momentum_decay 1; it has no fused kernel."""
        del fused
        return torch.optim.NAdam(
            cast(Any, _listed(parameters)),
            lr=self.learning_rate,
            betas=(self.beta_1, self.beta_2),
            eps=self.epsilon,
            weight_decay=self.weight_decay or 0.0,
            momentum_decay=1.0,
            decoupled_weight_decay=True,
            foreach=True,
        )


NAdam = Nadam


@dataclass(frozen=True)
class Adagrad(_Rated):
    """w <- w - lr g / sqrt(s + epsilon), s the sum of all g^2 so far (Duchi 2011)."""

    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7
    weight_decay: float | None = None

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """torch.optim.Adagrad; its fused kernel exists on the CPU only."""
        listed = _listed(parameters)
        fused = fused and all(p.device.type == "cpu" for p in _tensors(listed))
        return kernels.AdagradKernel(
            listed,
            lr=self.learning_rate,
            initial=self.initial_accumulator_value,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay or 0.0,
            fused=fused,
            foreach=not fused,
        )


@dataclass(frozen=True)
class Adadelta(_Rated):
    """Steps of sqrt(mean of past steps^2 + epsilon) / sqrt(mean of g^2 + epsilon) g (Zeiler 2012, arXiv:1212.5701).

    The default learning rate is Keras's; the paper's is 1.0.
    """

    rho: float = 0.95
    epsilon: float = 1e-7
    weight_decay: float | None = None

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """torch.optim.Adadelta with decoupled weight decay; it has no fused kernel."""
        del fused
        return kernels.AdadeltaKernel(
            _listed(parameters),
            lr=self.learning_rate,
            rho=self.rho,
            eps=self.epsilon,
            weight_decay=self.weight_decay or 0.0,
            foreach=True,
        )


@dataclass(frozen=True)
class RMSprop(_Rated):
    """w <- w - lr g / sqrt(v + epsilon), v the moving mean of g^2, less that of g squared if centered (Hinton 2012)."""

    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False
    weight_decay: float | None = None

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """An optimizer of ours, for torch's has epsilon outside the root; it has no fused kernel."""
        del fused
        return kernels.RMSpropKernel(
            _listed(parameters),
            lr=self.learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            centered=self.centered,
            weight_decay=self.weight_decay or 0.0,
        )


@dataclass(frozen=True)
class Muon(_Rated):
    """Orthogonalised momentum (Jordan 2024) for weights of two and more dimensions, Adam for the rest.

    Convolutions count as matrices (out, -1); Keras leaves them to Adam. `rms_rate` scales updates to the size of Adam's
    (None: singular values of about 1). A group of parameters with use_muon=False goes to Adam: the last layer, and embeddings, whose
    weights are taken for matrices otherwise (Jordan leaves both to Adam).
    """

    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_weight_decay: float | None = 0.004
    epsilon: float = 1e-7
    weight_decay: float | None = 0.004
    adam_lr_ratio: float = 1.0
    momentum: float = 0.95
    ns_steps: int = 5
    nesterov: bool = True
    rms_rate: float | None = 0.2

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """One optimizer for both kinds; `fused` speaks of the Adam in it."""
        return MuonKernel(
            _listed(parameters),
            lr=self.learning_rate,
            adam_lr_ratio=self.adam_lr_ratio,
            adam_weight_decay=self.adam_weight_decay or 0.0,
            betas=(self.adam_beta_1, self.adam_beta_2),
            epsilon=self.epsilon,
            weight_decay=self.weight_decay or 0.0,
            momentum=self.momentum,
            ns_steps=self.ns_steps,
            nesterov=self.nesterov,
            rms_rate=self.rms_rate,
            fused=fused,
        )


@dataclass(frozen=True)
class LBFGS(_Rated):
    """L-BFGS (Liu & Nocedal 1989): up to `max_iter` evaluations and more of the same batch in one update.

    With torch's names; `line_search_fn` is "strong_wolfe" (torch's default is None, a fixed step that often diverges).
    """

    learning_rate: float = _Default(1.0)
    max_iter: int = 20
    history_size: int = 100
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    line_search_fn: str | None = "strong_wolfe"

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """torch.optim.LBFGS, which knows one group of parameters and no fused kernel."""
        del fused
        listed = _listed(parameters)
        if isinstance(listed[0], dict) and len(listed) > 1:
            raise LaminaError(
                f"LBFGS was given {len(listed)} groups of parameters.",
                "It has one step length for all.",
                "Pass all parameters in one group.",
            )
        return torch.optim.LBFGS(
            cast(Any, listed),
            lr=self.learning_rate,
            max_iter=self.max_iter,
            history_size=self.history_size,
            tolerance_grad=self.tolerance_grad,
            tolerance_change=self.tolerance_change,
            line_search_fn=self.line_search_fn,
        )


@dataclass(frozen=True)
class TorchOptimizer(Optimizer):
    """A torch factory with torch's meaning: an optimizer class, functools.partial of one, or a function of the parameters."""

    factory: Callable[[Any], torch.optim.Optimizer]

    def build(self, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
        """What the factory makes; it decides itself whether it is fused."""
        del fused
        made = self.factory(_listed(parameters))
        if not isinstance(made, torch.optim.Optimizer):
            raise LaminaError(
                f"The optimizer factory made {type(made).__name__}.",
                "A torch.optim.Optimizer was expected.",
                "Return one made from the parameters that the function is given.",
            )
        return made


def _listed(parameters: Parameters) -> list[Any]:
    listed: list[Any] = [{**e, "params": _of(e)} if isinstance(e, dict) else e for e in parameters]
    if not _tensors(listed):
        raise LaminaError(
            "The optimizer was given no parameters.",
            "At least one was expected.",
            "Build the network first, or unfreeze a layer.",
        )
    return listed


def _tensors(listed: list[Any]) -> list[Tensor]:
    return [p for entry in listed for p in (_of(entry) if isinstance(entry, dict) else [entry])]


def _of(group: dict[str, Any]) -> list[Tensor]:
    given = group["params"]
    return [given] if isinstance(given, Tensor) else list(given)
