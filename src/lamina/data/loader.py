"""Batches from data that fits in memory: no workers, no collating, one indexing operation a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError
from lamina.structures.batch import Batch, Tensors


class Augment(Protocol):
    """A batch-wise augmentation: `draws` random numbers in [0, 1) a sample decide what happens to it."""

    @property
    def draws(self) -> int:
        """How many numbers a sample needs."""
        ...

    def __call__(self, images: Tensor, uniforms: Tensor, /) -> Tensor:
        """Images (B C H W, float, 0..255) changed as `uniforms` (B, draws) say."""
        ...


class ArrayBatches:
    """Batches of tensors that share their first dimension, in a new order each epoch where `shuffle` asks for it.

    The order is a function of (seed, epoch), and what `augment` draws for a sample of (seed, epoch, position in the epoch),
    so a run is the same whether or not it was interrupted. `inputs` and `targets` are tensors or tuples of them.
    """

    def __init__(
        self,
        inputs: Tensors,
        targets: Tensors | None = None,
        *,
        weights: Tensor | None = None,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}.", "A batch holds at least one sample.", "Pass 1 or more.")
        self.inputs, self.targets, self.weights = inputs, targets, weights
        self.batch_size, self.shuffle, self.seed, self.augment = batch_size, shuffle, seed, augment
        self.samples = len(inputs if isinstance(inputs, Tensor) else inputs[0])

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from the `start`-th on."""
        epoch_key = random.key(self.seed, epoch)
        order = random.order(epoch_key, self.samples) if self.shuffle else None
        for first in range(start * self.batch_size, self.samples, self.batch_size):
            last = min(first + self.batch_size, self.samples)
            index = slice(first, last) if order is None else order[first:last]
            inputs = _pick(self.inputs, index)
            if self.augment is not None:
                positions = torch.arange(first, last)
                inputs = self._augmented(inputs, random.uniforms(epoch_key, positions, self.augment.draws))
            yield Batch(
                inputs,
                None if self.targets is None else _pick(self.targets, index),
                None if self.weights is None else self.weights[index],
            )

    def _augmented(self, inputs: Tensors, uniforms: Tensor) -> Tensors:
        assert self.augment is not None
        if isinstance(inputs, Tensor):
            return self.augment(inputs.float(), uniforms.to(inputs.device))
        return (self.augment(inputs[0].float(), uniforms.to(inputs[0].device)), *inputs[1:])


def _pick(values: Tensors, index: slice | Tensor) -> Tensors:
    if isinstance(values, Tensor):
        return values[index]
    return tuple(value[index] for value in values)
