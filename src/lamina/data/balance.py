"""How rare classes are made to count as much as frequent ones: weights of their losses, or other samples in an epoch.

All are functions of the labels of the whole training set, which each of several processes knows.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError

BETA = 0.999  # of the effective number, of Cui's 0.9, 0.99, 0.999 and 0.9999

Balance = Literal["weights", "effective", "sample", "under", "over"]
BALANCES: dict[str, str] = {
    "weights": "each loss is multiplied by the inverse frequency of its class",
    "effective": "each loss is multiplied by the inverse effective number of its class",
    "sample": "samples are drawn with replacement, every class equally often",
    "under": "an epoch has as many samples of each class as the rarest has, drawn anew each time",
    "over": "an epoch has each sample, and samples of rarer classes again, up to the number of the most frequent",
}


class Quota(NamedTuple):
    """How many samples of each class an epoch has (K); `classes` (N) says of which each sample is."""

    classes: Int64[Tensor, " N"]
    counts: Int64[Tensor, " K"]

    @property
    def samples(self) -> int:
        """How many samples an epoch has."""
        return int(self.counts.sum())


def inverse_frequency(labels: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The weight of each sample, N / (K n) where its class, one of the K that occur, has n. Their mean is 1."""
    sizes = _sizes(labels)
    return _with_mean_1(1.0 / sizes.double())


def inverse_effective_number(labels: Int64[Tensor, " N"], *, beta: float = BETA) -> Float[Tensor, " N"]:
    """The weight of each sample in the class-balanced loss (Cui 2019, eq. 12), (1 - beta) / (1 - beta^n), scaled to mean 1.

    `beta` 0 weighs all samples alike, and near 1 as `inverse_frequency`. The paper scales to the sum K over the classes; with
    mean 1 over the samples a learning rate keeps its meaning.
    """
    if not 0.0 <= beta < 1.0:
        raise DataError(f"beta is {beta}.", "It lies from 0 to below 1.", "Usual are 0.99 to 0.9999.")
    sizes = _sizes(labels).double()
    return _with_mean_1((1 - beta) / (1 - beta**sizes))


def equal_odds(labels: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The weight by which each sample is drawn, so that every class that occurs is drawn equally often: 1 / n."""
    return 1.0 / _sizes(labels).double()


def quota(labels: Int64[Tensor, " N"], kind: Literal["under", "over"]) -> Quota:
    """As many samples of each class that occurs as the rarest has ("under"), or as the most frequent has ("over")."""
    _, classes, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    return Quota(classes, torch.full_like(sizes, int(sizes.min() if kind == "under" else sizes.max())))


def draw(draw_key: int, quota: Quota, *, shuffle: bool) -> Int64[Tensor, " M"]:
    """The samples of an epoch, a function of the key: each of a class as often as any other of it, but for one time.

    Which are taken once less is drawn. In a random order, or without `shuffle` in that of the data.
    """
    mixed = random.order(random.key(draw_key, 0), len(quota.classes))
    by_class = mixed[torch.argsort(quota.classes[mixed], stable=True)]
    sizes = torch.bincount(quota.classes, minlength=len(quota.counts))
    first = sizes.cumsum(0) - sizes
    owner = torch.repeat_interleave(torch.arange(len(quota.counts)), quota.counts)
    turn = torch.arange(len(owner)) - (quota.counts.cumsum(0) - quota.counts)[owner]
    chosen = by_class[first[owner] + turn % sizes[owner]]
    return chosen[random.order(random.key(draw_key, 1), len(chosen))] if shuffle else chosen.sort().values


def _sizes(labels: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """How many samples the class of each sample has."""
    _, classes, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    counts: Tensor = sizes[classes]
    return counts


def _with_mean_1(weights: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    return (weights / weights.mean()).float()
