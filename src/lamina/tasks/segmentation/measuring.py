"""Measuring maps of classes in the pictures' own pixels, whatever size the network sees them in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.faults import all_unreadable, named
from lamina.data.loader import part_of
from lamina.data.prepared import Prepared, fitted
from lamina.data.preprocess import Preprocess
from lamina.metrics import Metric
from lamina.metrics.segmentation import ConfusionMetric
from lamina.structures.annotation import IGNORED
from lamina.structures.batch import Batch, Logs
from lamina.tasks.segmentation.decode import by_rows, in_picture
from lamina.training import SupervisedStep, Update

_THREADS = 4


class Measured(NamedTuple):
    """Some pictures as the network sees them (uint8), their targets, and the maps of classes as the pictures are, of any sizes."""

    images: UInt8[Tensor, "B C H W"]
    targets: UInt8[Tensor, "B H W"]
    maps: list[UInt8[Tensor, "H2 W2"]]


class OwnPixels:
    """The samples of a data set in order, some at a time, of this process's part. Unreadable ones are left out, and named."""

    def __init__(self, samples: Prepared, batch_size: int, *, shard: tuple[int, int]) -> None:
        self.samples, self.batch_size, self.shard = samples, batch_size, shard

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Measured]:
        """As the loop asks for batches: the order is always the same."""
        del epoch, start
        return iter(self)

    def __iter__(self) -> Iterator[Measured]:
        first, last = part_of(len(self.samples), self.shard)
        faults: dict[int, str] = {}
        read = 0
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            for start in range(first, last, self.batch_size):
                numbers = range(start, min(start + self.batch_size, last))
                found = list(pool.map(self._tried, numbers))
                faults |= {
                    number: str(each)
                    for number, each in zip(numbers, found, strict=True)
                    if isinstance(each, DataError)
                }
                good = [each for each in found if not isinstance(each, DataError)]
                read += len(good)
                if good:
                    images, targets, maps = zip(*good, strict=True)
                    yield Measured(torch.stack(images), torch.stack(targets), list(maps))
        if faults and not read:
            raise all_unreadable(f"{last - first:,} pictures", faults)
        if faults:
            warn(
                f"{len(faults):,} of {len(self.samples):,} pictures, or their maps, cannot be used; they are left out:\n"
                f"{named(faults)}\nMend them, or delete them."
            )

    def _tried(self, number: int) -> tuple[Tensor, Tensor, Tensor] | DataError:
        try:
            picture, annotation = self.samples.dataset[number]
            encode = self.samples.encode
            own = encode(annotation)  # which refuses what is no class
            image, seen = fitted(picture, annotation, self.samples.preprocess)
            return image, encode(seen), own
        except DataError as error:
            return error


class OwnPixelsStep:
    """A step that only measures: the loss of `step` in the network's pixels, as while it trains, and metrics in the pictures' own.

    Answers are taken to a picture's size as `predict` does it, of large pictures some rows at a time, but for metrics that want
    the probabilities of all pixels. `finish` makes those of what the step gives. `seen` counts the labelled pixels of each class.
    """

    def __init__(
        self,
        step: SupervisedStep,
        preprocess: Preprocess,
        classes: int,
        *,
        finish: nn.Module,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self.step, self.preprocess, self.finish = step, preprocess, finish
        self.networks = step.networks
        self.updates: dict[str, Update] = {}
        self.metrics = dict(step.metrics if metrics is None else metrics)
        self.seen: Int64[Tensor, " K"] = torch.zeros(classes, dtype=torch.int64)

    def train(self, batch: Measured) -> Logs:
        """Nothing is trained here."""
        raise NotImplementedError

    def evaluate(self, batch: Measured) -> Logs:
        """Loss and metrics of some pictures, in float32."""
        put, target = self.step.runtime.put, self.step.targets[0]
        (logits,) = self.step.forward(Batch(put(batch.images)))
        goals = target.loss.prepare(put(batch.targets).long(), target.output_shape)
        loss, count = target.measure(logits, goals, None), target.count(goals)
        probs = self.finish(logits.float())
        for own in batch.maps:
            self.seen += torch.bincount(own.flatten(), minlength=IGNORED + 1)[: len(self.seen)]
        if all(own.shape == self.preprocess.size for own in batch.maps):
            maps = put(torch.stack(batch.maps)).long()
            for metric in self.metrics.values():
                metric.update(probs, maps)
        else:
            for each, own in zip(probs, batch.maps, strict=True):
                self._measure(each, put(own))
        return Logs(len(batch.images) if count is None else count, loss=loss)

    def _measure(self, probs: Float[Tensor, "K H W"], own: UInt8[Tensor, "H2 W2"]) -> None:
        """Adds one picture to the metrics, in its own pixels."""
        size = (own.shape[0], own.shape[1])
        counting, others = list[ConfusionMetric](), list[Metric]()
        for metric in self.metrics.values():
            if isinstance(metric, ConfusionMetric) and type(metric).update is ConfusionMetric.update:
                counting.append(metric)
            else:
                others.append(metric)
        for rows, _, found in by_rows(probs, self.preprocess, size) if counting else ():
            for each in counting:
                each.count(found, own[rows], len(probs))
        if others:
            whole, labels = in_picture(probs, self.preprocess, size)[None], own[None].long()
            for other in others:
                other.update(whole, labels)
