"""Initial values with Keras's names, scales and distributions. Fans come from the layer: they depend on its meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.errors import unknown_name

# Standard deviation of a unit normal cut at two sigma: dividing by it gives the truncated draws the variance asked for.
TRUNCATED_STD = 0.87962566103423978


@dataclass(frozen=True)
class Zeros:
    """All 0."""

    def __call__(self, weights: Tensor, _: tuple[int, int]) -> None:
        nn.init.zeros_(weights)


@dataclass(frozen=True)
class Ones:
    """All 1."""

    def __call__(self, weights: Tensor, _: tuple[int, int]) -> None:
        nn.init.ones_(weights)


@dataclass(frozen=True)
class Constant:
    """All `value`."""

    value: float = 0.0

    def __call__(self, weights: Tensor, _: tuple[int, int]) -> None:
        nn.init.constant_(weights, self.value)


@dataclass(frozen=True)
class RandomNormal:
    """Normal around `mean` with standard deviation `stddev`."""

    mean: float = 0.0
    stddev: float = 0.05

    def __call__(self, weights: Tensor, _: tuple[int, int]) -> None:
        nn.init.normal_(weights, self.mean, self.stddev)


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal around `mean`, `stddev` before the draws beyond two of it are redrawn."""

    mean: float = 0.0
    stddev: float = 0.05

    def __call__(self, weights: Tensor, _: tuple[int, int]) -> None:
        _truncated(weights, self.mean, self.stddev)


@dataclass(frozen=True)
class RandomUniform:
    """Uniform from `minval` to `maxval`."""

    minval: float = -0.05
    maxval: float = 0.05

    def __call__(self, weights: Tensor, _: tuple[int, int]) -> None:
        nn.init.uniform_(weights, self.minval, self.maxval)


@dataclass(frozen=True)
class Orthogonal:
    """Orthonormal rows or columns times `gain`, the last axis of Keras's kernel against all others (Saxe 2013)."""

    gain: float = 1.0

    def __call__(self, weights: Tensor, _: tuple[int, int]) -> None:
        if weights.is_meta:  # linalg.qr draws nothing there, but nn.init refuses
            return
        if weights.ndim < 2:
            raise ValueError(
                "orthogonal initial values need a weight of two or more axes; a bias takes zeros or constant"
            )
        nn.init.orthogonal_(weights, self.gain)


@dataclass(frozen=True)
class GlorotUniform:
    """Uniform within sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16)."""

    def __call__(self, weights: Tensor, fans: tuple[int, int]) -> None:
        _uniform(weights, 2.0 / sum(fans))


@dataclass(frozen=True)
class GlorotNormal:
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""

    def __call__(self, weights: Tensor, fans: tuple[int, int]) -> None:
        _normal(weights, 2.0 / sum(fans))


@dataclass(frozen=True)
class HeUniform:
    """Uniform within sqrt(6 / fan_in) (He 2015)."""

    def __call__(self, weights: Tensor, fans: tuple[int, int]) -> None:
        _uniform(weights, 2.0 / fans[0])


@dataclass(frozen=True)
class HeNormal:
    """Truncated normal of variance 2 / fan_in (He 2015, eq. 10)."""

    def __call__(self, weights: Tensor, fans: tuple[int, int]) -> None:
        _normal(weights, 2.0 / fans[0])


@dataclass(frozen=True)
class LecunUniform:
    """Uniform within sqrt(3 / fan_in) (LeCun 1998)."""

    def __call__(self, weights: Tensor, fans: tuple[int, int]) -> None:
        _uniform(weights, 1.0 / fans[0])


@dataclass(frozen=True)
class LecunNormal:
    """Truncated normal of variance 1 / fan_in (LeCun 1998)."""

    def __call__(self, weights: Tensor, fans: tuple[int, int]) -> None:
        _normal(weights, 1.0 / fans[0])


Initializer = (
    Zeros
    | Ones
    | Constant
    | RandomNormal
    | TruncatedNormal
    | RandomUniform
    | Orthogonal
    | GlorotUniform
    | GlorotNormal
    | HeUniform
    | HeNormal
    | LecunUniform
    | LecunNormal
)
NAMES: dict[str, Initializer] = {
    "zeros": Zeros(),
    "ones": Ones(),
    "constant": Constant(),
    "random_normal": RandomNormal(),
    "truncated_normal": TruncatedNormal(),
    "random_uniform": RandomUniform(),
    "uniform": RandomUniform(),
    "normal": RandomNormal(),
    "orthogonal": Orthogonal(),
    "glorot_uniform": GlorotUniform(),
    "glorot_normal": GlorotNormal(),
    "he_uniform": HeUniform(),
    "he_normal": HeNormal(),
    "lecun_uniform": LecunUniform(),
    "lecun_normal": LecunNormal(),
}
INITIALIZERS: dict[str, type[Initializer]] = {type(value).__name__: type(value) for value in NAMES.values()}


def get(spec: str | Initializer) -> Initializer:
    """The initializer of a name ("he_normal", ...), or the object itself."""
    if isinstance(spec, tuple(INITIALIZERS.values())):
        return spec  # type: ignore[return-value]  # the tuple holds exactly the union's members
    if isinstance(spec, str) and spec.lower() in NAMES:
        return NAMES[spec.lower()]
    raise unknown_name("initializer", spec, NAMES)


def kernel_fans(weights: Tensor) -> tuple[int, int]:
    """Keras's fan_in and fan_out of a weight in torch's order (out, in / groups, kernel ...)."""
    field = math.prod(weights.shape[2:])
    return weights.shape[1] * field, weights.shape[0] * field


def fill(spec: str | Initializer, weights: Tensor, fans: tuple[int, int] | None = None) -> None:
    """Fills `weights` in place; a one-axis weight has Keras's fans (n, n) unless told."""
    if fans is None:
        fans = kernel_fans(weights) if weights.ndim >= 2 else (weights.numel(), weights.numel())
    with torch.no_grad():
        get(spec)(weights, fans)


def _uniform(weights: Tensor, variance: float) -> None:
    limit = math.sqrt(3.0 * variance)
    nn.init.uniform_(weights, -limit, limit)


def _normal(weights: Tensor, variance: float) -> None:
    _truncated(weights, 0.0, math.sqrt(variance) / TRUNCATED_STD)


def _truncated(weights: Tensor, mean: float, stddev: float) -> None:
    nn.init.trunc_normal_(weights, mean, stddev, mean - 2.0 * stddev, mean + 2.0 * stddev)
