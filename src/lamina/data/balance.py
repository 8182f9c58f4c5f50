"""How rare classes are made to count as much as frequent ones: weights of their losses, or other samples in an epoch.

All are functions of the labels of the whole training set, which each of several processes knows.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.structures.annotation import IGNORED

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


class PixelCounts(NamedTuple):
    """Of each class, its pixels (K), and all labelled pixels of the pictures in which it occurs (K)."""

    pixels: Int64[np.ndarray, " K"]
    around: Int64[np.ndarray, " K"]


def pixel_counts(dataset: AnnotatedDataset | AnnotatedArrays) -> PixelCounts:
    """Counts the pixels of each class in a data set with maps of classes, reading every map once, without augmentation.

    Pixels without a class, IGNORED, count nowhere. Raises DataError where there are no maps, and for a value that is no class.
    """
    if "class_map" not in getattr(dataset, "columns", ()):
        raise DataError(
            f"{dataset!r} has no maps of classes.",
            "Pixels are counted in the class_map of each picture.",
            "Open a data set for segmentation, such as lamina.data.open(path, task='segmentation').",
        )
    classes = len(dataset.classes)
    pixels, around = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for index in range(len(dataset)):
        class_map = dataset.annotation(index).class_map
        if class_map is None:
            continue
        counts = np.bincount(class_map.numpy().ravel(), minlength=IGNORED + 1)
        strange = np.flatnonzero(counts[classes:IGNORED])
        if len(strange):
            raise DataError(
                f"The map of {dataset.origin(index)} holds {classes + int(strange[0])}.",
                f"Classes from 0 to {classes - 1} were expected, or {IGNORED} for none.",
                "Correct the map, or name all classes.",
            )
        pixels += counts[:classes]
        around += np.where(counts[:classes] > 0, counts[:classes].sum(), 0)
    return PixelCounts(pixels, around)


def median_frequency(counts: PixelCounts) -> Float[Tensor, " K"]:
    """The weight of each class's pixels, median frequency / frequency (Eigen & Fergus 2015, section 6.3.2; SegNet, section 3.1).

    A frequency is the share of a class in the pixels of the pictures in which it occurs, the median that of the classes
    that occur. A class that occurs nowhere has weight 1: nothing is learnt of it. `losses.PixelCrossentropy` takes the weights
    as `tuple(weights.tolist())`. Raises DataError where no pixel has a class.
    """
    present = counts.pixels > 0
    if not present.any():
        raise DataError(
            "No pixel has a class.",
            "Weights come from the pixels of each class.",
            "Check the maps: all their values are ignored.",
        )
    shares = counts.pixels[present] / counts.around[present]
    weights = torch.ones(len(present), dtype=torch.float64)
    weights[torch.from_numpy(present)] = torch.from_numpy(np.median(shares) / shares)
    return weights.float()


def sqrt_median_frequency(counts: PixelCounts) -> Float[Tensor, " K"]:
    """The square roots of `median_frequency`: rare classes count more, but not so much that frequent ones give way to them."""
    return median_frequency(counts).sqrt()


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
