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
        orders = self._orders(epoch_key) if self.shuffle else None
        for first in range(start * self.batch_size, self.samples, self.batch_size):
            last = min(first + self.batch_size, self.samples)
            rows = slice(first, last)
            inputs = _pick(self.inputs, rows, orders)
            if self.augment is not None:
                positions = torch.arange(first, last)
                inputs = self._augmented(inputs, random.uniforms(epoch_key, positions, self.augment.draws))
            yield Batch(
                inputs,
                None if self.targets is None else _pick(self.targets, rows, orders),
                None if self.weights is None else _pick_one(self.weights, rows, orders),
            )

    def _orders(self, epoch_key: int) -> dict[torch.device, Tensor]:
        """The epoch's order on each device that holds data, for an index from elsewhere would be moved at every batch."""
        order = random.order(epoch_key, self.samples)
        held = [*_listed(self.inputs), *_listed(self.targets), *_listed(self.weights)]
        return {device: order.to(device) for device in {value.device for value in held}}

    def _augmented(self, inputs: Tensors, uniforms: Tensor) -> Tensors:
        assert self.augment is not None
        if isinstance(inputs, Tensor):
            return self.augment(inputs.float(), uniforms.to(inputs.device))
        return (self.augment(inputs[0].float(), uniforms.to(inputs[0].device)), *inputs[1:])


def _pick(values: Tensors, rows: slice, orders: dict[torch.device, Tensor] | None) -> Tensors:
    if isinstance(values, Tensor):
        return _pick_one(values, rows, orders)
    return tuple(_pick_one(value, rows, orders) for value in values)


def _pick_one(value: Tensor, rows: slice, orders: dict[torch.device, Tensor] | None) -> Tensor:
    return value[rows] if orders is None else value[orders[value.device][rows]]


def _listed(values: Tensors | None) -> tuple[Tensor, ...]:
    return () if values is None else (values,) if isinstance(values, Tensor) else tuple(values)
