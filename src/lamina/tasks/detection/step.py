"""One batch for a detection network: the sum of its losses is minimised, and what it finds is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lamina.data.preprocess import Preprocess
from lamina.data.workers import WorkerBatches
from lamina.metrics import Metric
from lamina.metrics.box_rows import FoundBoxes
from lamina.metrics.detection import CocoAP
from lamina.structures import boxes
from lamina.structures.batch import Batch, Logs
from lamina.tasks.detection import regions
from lamina.tasks.detection.decode import Suppression, decoded, entry, in_picture
from lamina.tasks.detection.targets import LOSSES, Measured
from lamina.training import Runtime, SupervisedStep, Update
from lamina.training.world import World


class _Found(NamedTuple):
    boxes_xyxy: Tensor
    labels: Tensor
    scores: Tensor


class _True(NamedTuple):
    boxes_xyxy: Tensor
    labels: Tensor
    crowd: Tensor
    area_px: None = None


class Listener:
    """What was found in all pictures of an evaluation, and the (height, width) of each, by batches."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.boxes = CocoAP(classes)
        self.sizes: list[list[tuple[int, int]]] = []
        self.hears = True

    def hearing(self, batches: WorkerBatches) -> _Heard:
        """The batches, after which nothing is heard: the loop may run some again, so that processes keep step (Loop.evaluate)."""
        return _Heard(batches, self)

    def joined(self, world: World) -> tuple[list[tuple[int, int]], FoundBoxes]:
        """The sizes of the pictures that all processes saw, and what was found in each, in the order of the data.

        Each process saw a part of the data, one after the other, while the metric numbers pictures by batches, of each process in turn.
        """
        self.boxes.reduce()
        told = world.gather(self.sizes)
        sizes = [size for batches in told for batch in batches for size in batch]
        batch_of = [number for batches in told for number, batch in enumerate(batches) for _ in batch]
        places = np.argsort(np.asarray(batch_of, np.int64), kind="stable")
        found = self.boxes.rows()[1]
        return sizes, replace(found, images=places[found.images.astype(np.int64)])


class _Heard:
    def __init__(self, batches: WorkerBatches, listener: Listener) -> None:
        self.batches, self.listener = batches, listener

    def __iter__(self) -> Iterator[Batch]:
        yield from self.batches
        self.listener.hears = False

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        return self.batches.epoch(epoch, start=start)


class DetectionStep(SupervisedStep):
    """Images and targets (B 1+M 6) through a detection network: losses by name, in training as in evaluation.

    The parts are logged as class_loss, box_loss ..., and weighed by `weights`. Metrics see what is found in evaluation, in the pictures'
    own pixels; in training nothing is decoded.
    """

    scores_training = False  # the loop leaves the metrics of training out

    def __init__(
        self,
        net: nn.Module,
        update: Update | None,
        *,
        classes: Sequence[str],
        preprocess: Preprocess,
        suppression: Suppression,
        metrics: Sequence[str],
        weights: Mapping[str, float],
        runtime: Runtime,
        prepare: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(net, update, targets=(), runtime=runtime, prepare=prepare)
        self.measure = entry(net, {**LOSSES, **regions.LOSSES})
        self.classes, self.preprocess, self.suppression, self.weights = (
            tuple(classes),
            preprocess,
            suppression,
            dict(weights),
        )
        self.found = CocoAP(self.classes)
        others = self.found.others(*(name for name in metrics if name != self.found.name))
        named: list[Metric] = [self.found, *others] if metrics else []
        self.metrics = {metric.name: metric for metric in named}
        self.listener: Listener | None = None  # hears of everything that is found in evaluation

    def train(self, batch: Batch) -> Logs:
        """One update."""
        update = self.updates["net"]
        (images,), (targets,), _ = self._place(batch)
        done: list[tuple[Measured, dict[str, Tensor]]] = []

        def closure() -> Tensor:
            with self.runtime.autocast():
                measured = self._measured(images, targets)
            parts, loss = self._summed(measured)
            done[:] = [(measured, parts)]
            return loss

        if update.needs_closure:
            loss = update(closure, count=batch.size)
        else:
            loss = closure()
            loss = update(loss, count=done[0][0].samples)
        return Logs(done[0][0].samples, loss=loss, **done[0][1])

    def evaluate(self, batch: Batch) -> Logs:
        """Losses and what is found in one batch, in float32."""
        (images,), (targets,), _ = self._place(batch)
        measured = self._measured(images, targets)
        parts, loss = self._summed(measured)
        if self.metrics or self.listener is not None:
            size = images.shape[-2], images.shape[-1]
            found = decoded(self.net, measured.predictions, size, self.suppression, len(self.classes))
            self._note(found, targets)
        return Logs(measured.samples, loss=loss, **parts)

    def _measured(self, images: Tensor, targets: Tensor) -> Measured:
        measured: Measured = self.measure(self.net, images if self.prepare is None else self.prepare(images), targets)
        return measured

    def _summed(self, measured: Measured) -> tuple[dict[str, Tensor], Tensor]:
        terms = [value * self.weights.get(name, 1.0) for name, value in measured.losses.items()]
        parts = {f"{name}_loss": value.detach() for name, value in measured.losses.items()}
        return parts, torch.stack(terms).sum()

    def _note(self, found: Tensor, targets: Tensor) -> None:
        """Adds a batch to the metrics, in the pixels that each picture has itself."""
        answers, truths = [], []
        for rows, target in zip(found.cpu(), targets.cpu(), strict=True):
            size = int(target[0, 3]), int(target[0, 2])
            rows = rows[rows[:, 5] >= 0]
            corners = boxes.clip(in_picture(rows[:, :4], self.preprocess, size), size)
            answers.append(_Found(corners, rows[:, 5].long(), rows[:, 4]))
            held = target[target[:, 4] >= 0]
            truths.append(_True(in_picture(held[:, :4], self.preprocess, size), held[:, 4].long(), held[:, 5] > 0))
        if self.metrics:
            self.found.update(answers, truths)
        if self.listener is not None and self.listener.hears:
            self.listener.boxes.update(answers, truths)
            self.listener.sizes.append([(int(target[0, 3]), int(target[0, 2])) for target in targets])
